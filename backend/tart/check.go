package tart

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// maxSocket is the longest path of a unix socket on macOS, in bytes.
const maxSocket = 103

// Check looks at Tart, the host, and what the configuration names.
func (b *Backend) Check(ctx context.Context) []doctor.Finding {
	source := b.options.SourceFinding(checkSource(b.options.Source),
		`write for instance image.source = "oci:registry.example.org/macos/sequoia-base:latest"`)
	findings := []doctor.Finding{b.checkTart(ctx), checkHost(ctx), b.checkHome(), source}
	if os.Geteuid() == 0 {
		findings = append(findings, doctor.Finding{Level: doctor.Warning, What: "user",
			Detail: "this process is root, and has not the keychain and privacy settings of the user who is logged in",
			Mend:   "run GitLab Runner as a launch agent of a user who is logged in"})
	}
	if b.options.Settings.Network == Softnet {
		findings = append(findings, checkSoftnet())
	}
	if workers := b.options.MaxWorkers; workers == 0 || workers > macGuests {
		findings = append(findings, doctor.Finding{Level: doctor.Warning, What: "host.max_workers",
			Detail: fmt.Sprintf("macOS runs %d macOS guests at once, and further workers would wait", macGuests),
			Mend:   fmt.Sprintf("for macOS guests set host.max_workers and max_instances to %d", macGuests)})
	}
	return append(findings, b.checkShares()...)
}

func (b *Backend) checkTart(ctx context.Context) doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "tart"}
	version, err := b.tool.do(ctx, nil, "--version")
	if err != nil {
		finding.Level, finding.Detail = doctor.Missing, err.Error()
		finding.Mend = "brew install openai/tools/tart (or cirruslabs/cli/tart, the older line), or put tart into PATH"
		return finding
	}
	finding.Detail = strings.TrimSpace(version) + ", " + b.tool.binary
	return finding
}

// leastMacOS is the first release that Tart runs on.
const leastMacOS = 13

func checkHost(ctx context.Context) doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "host"}
	if runtime.GOOS != macOS || runtime.GOARCH != "arm64" {
		finding.Level = doctor.Warning
		finding.Detail = "this is " + runtime.GOOS + " on " + runtime.GOARCH + ", Tart is for macOS on Apple silicon"
		finding.Mend = "use a Mac with Apple silicon"
		return finding
	}
	out, err := exec.CommandContext(ctx, "sw_vers", "-productVersion").Output()
	finding.Detail = "macOS " + strings.TrimSpace(string(out))
	major, _, _ := strings.Cut(strings.TrimSpace(string(out)), ".")
	if n, parse := strconv.Atoi(major); err != nil || parse != nil || n < leastMacOS {
		finding.Level, finding.Mend = doctor.Missing, fmt.Sprintf("update to macOS %d or newer", leastMacOS)
	}
	return finding
}

func (b *Backend) checkHome() doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "tart.home", Detail: b.options.Home}
	socket := filepath.Join(b.tool.dir(b.options.Pool+"-xxxxxxxx"), "control.sock")
	if excess := len(socket) - maxSocket; excess > 0 {
		finding.Level = doctor.Missing
		finding.Detail += fmt.Sprintf(" is %d bytes too long for the sockets below it", excess)
		finding.Mend = "set plugin_config.tart.home to a shorter path"
		return finding
	}
	if err := os.MkdirAll(b.options.Home, 0o700); err != nil {
		finding.Level, finding.Detail = doctor.Missing, err.Error()
		finding.Mend = "let this user write there, or set plugin_config.tart.home or state_dir"
	}
	return finding
}

// checkSoftnet wants it SUID root; whether a sudo rule does the same cannot be
// told without trying.
func checkSoftnet() doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "softnet"}
	path, err := programs.Find("softnet")
	if err != nil {
		path = "/opt/homebrew/bin/softnet"
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		finding.Level, finding.Detail = doctor.Missing, err.Error()
		finding.Mend = programs.Remedy("softnet")
	case info.Mode()&os.ModeSetuid == 0:
		finding.Level = doctor.Warning
		finding.Detail = path + " is not SUID root, and works only with a rule of sudo for it"
		finding.Mend = fmt.Sprintf("sudo chown root %s; sudo chmod u+s %s", path, path)
	default:
		finding.Detail = path + " is SUID"
	}
	return finding
}

// checkShares looks for what --dir and --disk name on this host.
func (b *Backend) checkShares() []doctor.Finding {
	var findings []doctor.Finding
	missing := func(what, path string, err error) {
		findings = append(findings, doctor.Finding{Level: doctor.Missing, What: what, Detail: err.Error(),
			Mend: fmt.Sprintf("make %s, or correct plugin_config.%s", path, what)})
	}
	for i, spec := range b.options.Settings.Dirs {
		path := dirPath(spec)
		if _, err := os.Stat(path); err != nil {
			missing(fmt.Sprintf("tart.dirs[%d]", i), path, err)
		}
	}
	for i, spec := range b.options.Settings.Disks {
		path, _, _ := strings.Cut(spec, ",")
		path = strings.TrimSuffix(path, ":ro")
		if !filepath.IsAbs(path) {
			continue // another machine's name, or an address
		}
		if _, err := os.Stat(path); err != nil {
			missing(fmt.Sprintf("tart.disks[%d]", i), path, err)
		}
	}
	return findings
}

// dirPath is the path in [name:]PATH[:ro][,tag=TAG].
func dirPath(spec string) string {
	path, _, _ := strings.Cut(spec, ",tag=")
	path = strings.TrimSuffix(path, ":ro")
	if i := strings.Index(path, ":/"); i >= 0 {
		path = path[i+1:]
	}
	return path
}
