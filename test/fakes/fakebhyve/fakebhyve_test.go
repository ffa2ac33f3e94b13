//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// TestMain lets this binary be the tool that the variable names.
func TestMain(m *testing.M) {
	if tool := os.Getenv("MAYFLY_BE"); tool != "" {
		os.Args[0] = tool
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func play(t *testing.T, host string, line string) (code int, output string) {
	t.Helper()
	args := strings.Fields(line)
	cmd := exec.Command(os.Args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "MAYFLY_BE="+args[0], "MAYFLY_FAKE_BHYVE="+host,
		"MAYFLY_FAKE_VMM="+filepath.Join(host, "vmm"))
	out, _ := cmd.CombinedOutput() // its exit code is what counts
	return cmd.ProcessState.ExitCode(), string(out)
}

// newHost has a guest that is off, with a snapshot, and one that seems to run.
func newHost(t *testing.T) string {
	t.Helper()
	need.Root(t) // as vm does
	host := t.TempDir()
	for name, text := range map[string]string{
		"vm/base/base.conf": "network0_mac=\"58:9c:fc:00:00:01\"\n", "vm/up/up.conf": "", "vmm/up": "1000000",
		"vm/locked/locked.conf": "", "vm/locked/run.lock": "other", "vm/.templates/default.conf": "",
		"vm/.img/a.raw": "no disk image", "rc.conf": "vm_dir=\"zfs:zroot/vm\"\n", "key.pub": "ssh-ed25519 AAAA\n",
	} {
		path := filepath.Join(host, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	code, output := play(t, host, "vm snapshot base@golden")
	require.Zero(t, code, output)
	return host
}

// TestRefusals has what vm-bhyve and its companions refuse, by their sources.
func TestRefusals(t *testing.T) {
	host := newHost(t)
	for line, want := range map[string]string{
		"vm clone nothing@golden new":          "does not appear to be an existing virtual machine",
		"vm clone base@never new":              "snapshot base@never doesn't seem to exist",
		"vm clone base@golden up":              "new guest already exists in",
		"vm clone up new":                      "must be stopped",
		"vm clone base@golden":                 "Usage",
		"vm clon base@golden new":              "unknown command",
		"vm snapshot up":                       "must be stopped",
		"vm snapshot base@golden":              "already exists",
		"vm start nothing":                     "does not seem to be a valid virtual machine",
		"vm start up":                          "appears to be running already",
		"vm poweroff -f base":                  "doesn't appear to be a running virtual machine",
		"vm destroy -f up":                     "appears to be running locally (vmm exists)",
		"vm destroy -f locked":                 "appears to be running on host (locked)",
		"vm destroy -f nothing":                "valid virtual machine",
		"vm destroy -x base":                   "Usage",
		"vm rename up down":                    "must be stopped",
		"vm rename base up":                    "already exists",
		"vm create -k /key -i a.raw new":       "need -C",
		"vm create -C -k /nowhere -i a.raw x1": "does not exist",
		"vm create -C -i b.raw new":            "unable to find image",
		"vm create -t never -i a.raw new":      "unable to find template",
		"vm create -C -i a.raw new":            "qemu-img",
		"vm create -C -i a.raw n":              "Usage",
		"vm create -C -i a.raw base":           "already exists",
		"vm img ftp://example.org/a":           "failed to fetch",
		"bhyvectl --vm=base --destroy":         "is not created",
		"bhyvectl --destroy --vm=base":         "bhyvectl",
		"sysrc -n vm_list":                     "unknown variable",
		"sysrc -f /nowhere Key=x":              "bad assignment",
		"zfs get mountpoint zroot/vm":          "zfs",
		"arp -a":                               "usage",
		"sudo vm list":                         "terminal is required",
	} {
		t.Run(line, func(t *testing.T) {
			code, output := play(t, host, line)
			require.NotZero(t, code)
			require.Contains(t, output, want)
		})
	}
	require.NoFileExists(t, filepath.Join(host, "violations"))
}

func TestWhatIsAllowedAndHarms(t *testing.T) {
	host := newHost(t)
	works := func(line string) string {
		code, output := play(t, host, line)
		require.Zero(t, code, "%s: %s", line, output)
		return output
	}
	violations := func() string {
		text, _ := os.ReadFile(filepath.Join(host, "violations")) // none is none
		return string(text)
	}
	works("vm clone base@golden clean")
	conf, err := os.ReadFile(filepath.Join(host, "vm/clean/clean.conf"))
	require.NoError(t, err)
	require.NotContains(t, string(conf), "network0_mac", "made afresh at the next start")
	require.Contains(t, works("vm stop clean"), "WARNING")
	code, output := play(t, host, "vm destroy -f base")
	require.NotZero(t, code)
	require.Contains(t, output, "clean depends on it")
	works("vm destroy -f clean")
	require.Empty(t, violations())

	works("vm clone base careless")
	require.Contains(t, violations(), "without a snapshot")
	works("vm destroy careless")
	require.Contains(t, violations(), "without -f")
}
