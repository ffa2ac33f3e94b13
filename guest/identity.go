package guest

import (
	"errors"
	"regexp"
	"strings"
)

// Identity is what makes a worker one of a kind: everything that clones and
// forks of one golden image must not share.
type Identity struct {
	// Hostname is the worker's host name, which also goes into its hosts file.
	Hostname string `json:"hostname"`
	// MachineID is 32 lower-case hexadecimal digits, see machine-id(5).
	MachineID string `json:"machine_id"`
	// HostKey is the private SSH host key in OpenSSH's PEM form. It is made by
	// the host, so that the host knows whom it talks to.
	HostKey string `json:"host_key"`
	// HostKeyPublic is its public half, in the form of a .pub file.
	HostKeyPublic string `json:"host_key_public"`
	// User is the account that jobs log in to; AuthorizedKey is the one line
	// of its authorized_keys file.
	User          string `json:"user"`
	AuthorizedKey string `json:"authorized_key"`
	// Link is what the worker's network has that not all have.
	Link Link `json:"link,omitzero"`
}

// Link is how a guest's network differs from the one that every guest has: that
// of the zero value.
type Link struct {
	// MTU is how long a packet may be, in bytes; zero for the usual 1500.
	MTU int `json:"mtu,omitempty"`
	// IPv6 gives the guest the address and the gateway that all who have IPv6
	// have.
	IPv6 bool `json:"ipv6,omitempty"`
}

// MTUs that a link can have: the least that IPv4 wants of every host, and the
// most that its packets can fill.
const (
	minMTU = 576
	maxMTU = 65535
)

var (
	hostnamePattern  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	machineIDPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)
	userPattern      = regexp.MustCompile(`^[a-z_][a-z0-9_.-]{0,31}$`)
)

// ValidUser tells whether jobs may log in to an account of this name, for those
// who want to know before there is a guest: a-z or _, then up to 31 of a-z,
// 0-9, _, . and -.
func ValidUser(name string) bool { return userPattern.MatchString(name) }

// validate reports every mistake at once. The agent writes these values into
// files of the guest, so that none may smuggle in a line of its own.
func (i Identity) validate() error {
	var wrong []error
	check := func(ok bool, what string) {
		if !ok {
			wrong = append(wrong, errors.New(what+" is missing or malformed"))
		}
	}
	check(hostnamePattern.MatchString(i.Hostname), "hostname")
	check(machineIDPattern.MatchString(i.MachineID), "machine_id")
	check(strings.HasPrefix(i.HostKey, "-----BEGIN OPENSSH PRIVATE KEY-----\n"), "host_key")
	check(isLine(i.HostKeyPublic), "host_key_public")
	check(ValidUser(i.User), "user")
	check(isLine(i.AuthorizedKey), "authorized_key")
	check(i.Link.MTU == 0 || i.Link.MTU >= minMTU && i.Link.MTU <= maxMTU, "link.mtu")
	return errors.Join(wrong...)
}

func isLine(s string) bool { return s != "" && !strings.ContainsAny(s, "\n\r\x00") }
