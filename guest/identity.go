package guest

import (
	"errors"
	"regexp"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Identity is what a worker does not share with other clones and forks of its
// golden image.
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
	// Link is how the worker's network differs from that of all.
	Link Link `json:"link,omitzero"`
}

// Link is how a guest's network differs from the one that every guest has. The
// zero value is no difference.
type Link struct {
	// MTU is how long a packet may be, in bytes; zero for the usual 1500.
	MTU int `json:"mtu,omitempty"`
	// IPv6 gives the guest the address and the gateway that all guests with IPv6
	// have.
	IPv6 bool `json:"ipv6,omitempty"`
	// Search are the domains that names without a dot are looked up in, separated by
	// blanks.
	Search string `json:"search,omitempty"`
}

// LinkOf is the link of a guest that has the lease.
func LinkOf(lease network.Lease) Link {
	return Link{MTU: lease.MTU, IPv6: lease.IPv6, Search: lease.Search}
}

// MTUs that a link can have: the least that IPv4 demands of every host, and the
// greatest length of its packets.
const (
	minMTU = 576
	maxMTU = 65535
)

var searchPattern = regexp.MustCompile(`^[a-z0-9_. -]*$`)

func (l Link) validate() error {
	if l.MTU != 0 && (l.MTU < minMTU || l.MTU > maxMTU) {
		return errors.New("link.mtu is malformed")
	}
	if !searchPattern.MatchString(l.Search) {
		return errors.New("link.search is malformed")
	}
	return nil
}

var (
	hostnamePattern  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	machineIDPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)
	userPattern      = regexp.MustCompile(`^[a-z_][a-z0-9_.-]{0,31}$`)
)

// ValidUser tells whether jobs may log in to an account of this name: a-z or _,
// then up to 31 of a-z, 0-9, _, . and -. It is exported so that a configuration
// can be refused before there is a guest.
func ValidUser(name string) bool { return userPattern.MatchString(name) }

// validate reports every mistake at once. The agent writes these values into
// files of the guest, so none may hold a line break where a line is expected.
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
	return errors.Join(append(wrong, i.Link.validate())...)
}

func isLine(s string) bool { return s != "" && !strings.ContainsAny(s, "\n\r\x00") }
