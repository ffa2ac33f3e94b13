package bhyve

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Check looks at vm-bhyve, at what lets us use it, and at what tells addresses.
func (b *Backend) Check(ctx context.Context) []doctor.Finding {
	source := b.options.SourceFinding(checkSource(b.options.Source), "correct plugin_config.image.source")
	findings := []doctor.Finding{
		checkHost(), checkVM(ctx), b.checkDirectory(ctx), b.checkRoot(ctx), source, b.checkLeases(ctx),
	}
	if b.options.Source.Kind == image.HTTPS || b.options.Source.Kind == image.Local {
		findings = append(findings, checkQEMUImg(), b.checkTemplate(ctx))
	}
	return findings
}

func checkHost() doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "host", Detail: runtime.GOOS}
	if runtime.GOOS != "freebsd" {
		finding.Level, finding.Detail = doctor.Warning, "this is "+runtime.GOOS+", and vm-bhyve is for FreeBSD"
		finding.Mend = "use a FreeBSD host"
	}
	return finding
}

func checkVM(ctx context.Context) doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "vm-bhyve"}
	if !exists(path("vm")) {
		finding.Level, finding.Detail = doctor.Missing, path("vm")+" is not there"
		finding.Mend = "pkg install vm-bhyve; sysrc vm_enable=YES; vm init"
		return finding
	}
	version, err := execute(ctx, nil, []string{path("pkg"), "query", "%v", "vm-bhyve"})
	if err != nil {
		version = "of a version that pkg does not know"
	}
	finding.Detail = strings.TrimSpace(version) + ", " + path("vm")
	return finding
}

func (b *Backend) checkDirectory(ctx context.Context) doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "vm_dir"}
	dir, err := b.host.directory(ctx)
	if err == nil {
		_, err = os.ReadDir(dir)
	}
	if err != nil {
		finding.Level, finding.Detail = doctor.Missing, err.Error()
		finding.Mend = `zfs create POOL/vm; sysrc vm_dir="zfs:POOL/vm"; vm init; and let this user read that directory`
		return finding
	}
	finding.Detail = dir + ", on ZFS"
	return finding
}

// checkRoot tries the one command that changes nothing.
func (b *Backend) checkRoot(ctx context.Context) doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "root", Detail: "this process is root"}
	if b.options.Sudo != "" {
		finding.What, finding.Detail = b.options.Sudo, "lets this user run what is needed"
	}
	if err := b.host.root(ctx, "vm", "list"); err != nil {
		finding.Level, finding.Detail = doctor.Missing, err.Error()
		finding.Mend = `run program and GitLab Runner as root, or set plugin_config.bhyve.sudo to "sudo" or "doas"`
	}
	if b.options.Sudo != "" { // also when the one that was tried is allowed
		finding.Mend = b.ruleText(ctx)
	}
	return finding
}

func (b *Backend) ruleText(ctx context.Context) string {
	if b.options.Sudo == "doas" {
		rules := "in /usr/local/etc/doas.conf, whose rules cannot tell guests apart:"
		for _, program := range []string{"vm", "sysrc", "bhyvectl", "rm"} {
			rules += "\n  permit nopass " + userName() + " as root cmd " + path(program)
		}
		return rules
	}
	return "with visudo:\n  " + strings.Join(b.sudoers(ctx), "\n  ")
}

func userName() string {
	if me, err := user.Current(); err == nil {
		return me.Username
	}
	return "gitlab-runner"
}

// sudoers are the rules that let this user do what the backend does as root,
// to golden images, and to guests whose names are ids of this pool's workers.
func (b *Backend) sudoers(ctx context.Context) []string {
	dir, err := b.host.directory(ctx)
	if err != nil {
		dir = "/vm"
	}
	worker := b.options.Pool + "-????????"
	conf := filepath.Join(dir, worker, worker+".conf")
	commands := [][]string{
		{"vm", "list"},
		{"vm", "clone", "mayfly-*@" + snapshotName, worker},
		{"vm", "start", worker}, {"vm", "stop", worker},
		{"vm", "poweroff", "-f", worker}, {"vm", "destroy", "-f", worker},
		{"vm", "rename", worker, "mayfly-*"}, {"vm", "snapshot", "mayfly-*@" + snapshotName},
		{"vm", "destroy", "-f", "mayfly-*"},
		{"sysrc", "-f", conf, "network0_mac=*"},
		{"bhyvectl", "--vm=" + worker, "--destroy"},
		{"rm", "-f", filepath.Join(dir, worker, lockFile)},
	}
	if b.options.Source.Kind == image.VM {
		commands = append(commands, []string{"vm", "clone", b.options.Source.Location, worker})
	} else {
		commands = append(commands,
			[]string{"vm", "img", "file://" + b.options.WorkersDir + "/*"},
			[]string{"vm", "create", "-t", b.options.Template, "*", worker},
			[]string{"rm", "-f", filepath.Join(dir, ".img", "mayfly-*.img")})
	}
	// In the arguments of a rule these have meanings of their own.
	escape := strings.NewReplacer(":", `\:`, "=", `\=`, ",", `\,`)
	var rules []string
	for _, command := range commands {
		rules = append(rules, fmt.Sprintf("%s ALL=(root) NOPASSWD: %s %s",
			userName(), path(command[0]), escape.Replace(strings.Join(command[1:], " "))))
	}
	return rules
}

// checkLeases wants one source of addresses that can be read.
func (b *Backend) checkLeases(ctx context.Context) doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "bhyve.leases"}
	var readable, failed []string
	for _, kind := range b.sources() {
		var err error
		if kind == ARP {
			_, err = b.host.run(ctx, "arp", "-an")
		} else {
			_, err = readLeases(kind, b.leaseFile(kind))
		}
		if err != nil {
			failed = append(failed, err.Error())
			continue
		}
		readable = append(readable, kind)
	}
	const mend = "let this user read the leases of the DHCP server that serves the guests' switch"
	finding.Detail = "addresses are found by " + strings.Join(readable, ", ")
	switch {
	case len(readable) == 0:
		finding.Level, finding.Detail = doctor.Missing, strings.Join(failed, "; ")
		finding.Mend = mend + ", or set plugin_config.bhyve.leases_file"
	case len(readable) == 1 && readable[0] == ARP:
		finding.Level = doctor.Warning
		finding.Mend = "ARP knows a guest only after traffic: " + mend
	}
	return finding
}

func checkQEMUImg() doctor.Finding {
	finding := doctor.FindProgram("qemu-img")
	if finding.Level != doctor.OK {
		finding.Detail = "vm-bhyve writes images to disks with it, and it is not in PATH"
	}
	return finding
}

func (b *Backend) checkTemplate(ctx context.Context) doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "bhyve.template", Detail: b.options.Template}
	dir, err := b.host.directory(ctx)
	if err != nil {
		return finding // vm_dir is reported already
	}
	file := filepath.Join(dir, ".templates", b.options.Template+".conf")
	if !exists(file) {
		finding.Level, finding.Detail = doctor.Missing, file+" is not there"
		finding.Mend = "copy one of /usr/local/share/examples/vm-bhyve to " + file +
			` (loader="uefi" for cloud images), or set plugin_config.bhyve.template`
	}
	return finding
}
