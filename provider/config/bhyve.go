package config

import "regexp"

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

func bhyveSection(c *Config) section {
	b := &c.Bhyve
	return section{name: "bhyve", together: b.checkLeases,
		about: `For the backend "bhyve" on FreeBSD: image.source is then an https:// URL, the path of a disk image,
			or "vm:NAME@SNAPSHOT". See docs/backends/bhyve.md.`,
		keys: []key{
			{name: "sudo", value: word(&b.Sudo, "sudo", "doas"), example: `"sudo"`,
				about: `"sudo" or "doas", where the runner is not root`, refused: "other words"},
			{name: "template", value: text(&b.Template, parseTemplate), fallback: `"default"`,
				about: "the template of vm-bhyve for guests that are made of a file", refused: "another form"},
			{name: "user", value: text(&b.User, parseLoginUser), fallback: `"freebsd"`,
				about: "the image's first login. Jobs log in as this user too, unless `connector_config` names " +
					"another",
				refused: "what is not a valid name of an account"},
			{name: "password", value: text(&b.Password, parsePassword), example: `"freebsd"`,
				about: "for images that do not take a key by cloud-init", refused: "empty"},
			{name: "leases", value: word(&b.Leases, "auto", "kea", "dhcpd", "dnsmasq", "arp"),
				fallback: `"auto"`, example: `"kea"`,
				about:   `where addresses are found: "kea", "dhcpd", "dnsmasq", "arp", or "auto" for all of these`,
				refused: "other words"},
			{name: "leases_file", value: text(&b.LeasesFile, parsePath), otherwise: "where FreeBSD's package has it",
				example: `"/var/db/kea/kea-leases4.csv"`,
				about:   "the file of that server", refused: `a relative path; beside "auto" or "arp"`},
		},
	}
}

func (b *Bhyve) checkLeases(r *reading) {
	if r.gave("bhyve.leases_file") && !r.wrong("bhyve.leases") && (b.Leases == "auto" || b.Leases == "arp") {
		r.refuse("bhyve.leases_file", "contradicts leases %q: "+
			"write leases = \"kea\", \"dhcpd\" or \"dnsmasq\", whose file it is", b.Leases)
	}
}

var parseTemplate = matching(regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`),
	`is not a valid name of a template: write for instance "default", for .templates/default.conf below vm_dir`)
