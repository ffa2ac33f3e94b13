package config

import (
	"fmt"
	"regexp"
)

// Bhyve says how guests of vm-bhyve are made, for the backend of that name.
type Bhyve struct {
	// Sudo is "sudo", "doas", or empty for a process that is root.
	Sudo string
	// Template is vm-bhyve's.
	Template string
	// User and Password are an image's first login; Password may be empty.
	User, Password string
	// Leases is "auto", "kea", "dhcpd", "dnsmasq" or "arp"; LeasesFile is the
	// server's file, or empty for the usual one.
	Leases, LeasesFile string
}

func defaultBhyve() Bhyve { return Bhyve{Template: "default", User: "freebsd", Leases: "auto"} }

type rawBhyve struct {
	sudo, template, user, password, leases, leasesFile given[string]
}

func readBhyve(t *table) rawBhyve {
	return rawBhyve{
		sudo:       t.text("sudo", `"sudo"`),
		template:   t.text("template", `"default"`),
		user:       t.text("user", `"freebsd"`),
		password:   t.text("password", `"freebsd"`),
		leases:     t.text("leases", `"kea"`),
		leasesFile: t.text("leases_file", `"/var/db/kea/kea-leases4.csv"`),
	}
}

func (r rawBhyve) parse(m *Errors, to *Bhyve) {
	set(m, r.sudo, &to.Sudo, oneOf("sudo", "doas"))
	set(m, r.template, &to.Template, parseTemplate)
	set(m, r.user, &to.User, parseLoginUser)
	set(m, r.password, &to.Password, parsePassword)
	set(m, r.leases, &to.Leases, oneOf("auto", "kea", "dhcpd", "dnsmasq", "arp"))
	set(m, r.leasesFile, &to.LeasesFile, parseDirectory)
	if r.leasesFile.set && !m.has(r.leases.path) && (to.Leases == "auto" || to.Leases == "arp") {
		m.add(r.leasesFile.path, "contradicts leases %q: write leases = \"kea\", \"dhcpd\" or \"dnsmasq\", whose file it is", to.Leases)
	}
}

var templateName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func parseTemplate(name string) (string, error) {
	if !templateName.MatchString(name) {
		return "", fmt.Errorf("%q is no name of a template: write for instance \"default\", for .templates/default.conf below vm_dir", name)
	}
	return name, nil
}

type writtenBhyve struct {
	Sudo       string `json:"sudo,omitzero"`
	Template   string `json:"template"`
	User       string `json:"user"`
	Password   string `json:"password,omitzero"`
	Leases     string `json:"leases"`
	LeasesFile string `json:"leases_file,omitzero"`
}
