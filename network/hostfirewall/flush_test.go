//go:build linux

package hostfirewall

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

// debian is what Debian 12 installs.
const debian = `#!/usr/sbin/nft -f

flush ruleset

table inet filter {
	chain input {
		type filter hook input priority filter;
	}
	chain forward {
		type filter hook forward priority filter;
	}
	chain output {
		type filter hook output priority filter;
	}
}
`

const debianUnit = `[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f /etc/nftables.conf
ExecReload=/usr/sbin/nft -f /etc/nftables.conf
ExecStop=/usr/sbin/nft flush ruleset
`

// fedoraUnit is what Fedora 40 installs.
const fedoraUnit = `[Service]
Type=oneshot
ProtectSystem=full
ProtectHome=true
ExecStart=/sbin/nft -f /etc/sysconfig/nftables.conf
ExecReload=/sbin/nft 'flush ruleset; include "/etc/sysconfig/nftables.conf";'
ExecStop=/sbin/nft flush ruleset
RemainAfterExit=yes
`

func TestFlushesOfTheHostsConfiguration(t *testing.T) {
	tables := []string{"inet filter"}
	of := func(file, line string, unit bool, tables ...string) Flush { return Flush{file, line, unit, tables} }
	for name, test := range map[string]struct {
		files map[string]string
		want  []Flush
	}{
		"none": {nil, nil},
		"Debian": {
			map[string]string{"etc/nftables.conf": debian, "usr/lib/systemd/system/nftables.service": debianUnit},
			[]Flush{
				of("/etc/nftables.conf", "flush ruleset", false, tables...),
				of("/usr/lib/systemd/system/nftables.service", "ExecStop=/usr/sbin/nft flush ruleset", true, tables...),
			},
		},
		"Fedora": {
			map[string]string{
				"etc/sysconfig/nftables.conf":             "table inet filter {\n}\n",
				"usr/lib/systemd/system/nftables.service": fedoraUnit,
			},
			[]Flush{
				of("/usr/lib/systemd/system/nftables.service",
					`ExecReload=/sbin/nft 'flush ruleset; include "/etc/sysconfig/nftables.conf";'`, true, tables...),
				of("/usr/lib/systemd/system/nftables.service", "ExecStop=/sbin/nft flush ruleset", true, tables...),
			},
		},
		"a unit of the host's own": {
			map[string]string{
				"usr/lib/systemd/system/nftables.service": debianUnit,
				"etc/systemd/system/nftables.service":     "[Service]\nExecStart=nft -f /etc/nftables.conf\n",
			}, nil,
		},
		"a drop-in that undoes it": {
			map[string]string{
				"lib/systemd/system/nftables.service":          debianUnit,
				"etc/systemd/system/nftables.service.d/a.conf": "[Service]\nExecStop=\n",
			}, nil,
		},
		"a comment, and other families": {
			map[string]string{"etc/nftables.conf": "# flush ruleset\nflush ruleset ip; flush ruleset ip6\nflush table inet filter\n"},
			nil,
		},
		"of our family, beside others": {
			map[string]string{"etc/nftables.nft": "table nat {}; flush ruleset inet # all of it\n"},
			[]Flush{of("/etc/nftables.nft", "flush ruleset inet", false, "ip nat")},
		},
		"tables that are made by commands": {
			map[string]string{
				"etc/nftables.nft": "flush ruleset\nadd table inet a\ncreate table b\n" +
					"add rule inet a c accept\ndelete table d\n",
			},
			[]Flush{of("/etc/nftables.nft", "flush ruleset", false, "inet a", "ip b")},
		},
		"included": {
			map[string]string{
				"etc/sysconfig/nftables.conf": "include \"/etc/nftables/*.nft\"\n",
				"etc/nftables/main.nft":       "flush ruleset\ninclude \"nftables/more.rules\"\ntable inet a{\n}\n",
				"etc/nftables/more.rules":     "table ip6 b\ndelete table ip6 b\ninclude \"./nftables/main.nft\"\n",
			},
			[]Flush{of("/etc/nftables/main.nft", "flush ruleset", false, "ip6 b", "inet a")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for path, text := range test.files {
				path = filepath.Join(root, path)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
				require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			}
			found, err := Flushes(root)
			require.NoError(t, err)
			require.Equal(t, test.want, found)
		})
	}
}

// TestInsteadKeepsOurTables loads what is to be written as the host would, twice.
func TestInsteadKeepsOurTables(t *testing.T) {
	sandbox.EmptyNamespace(t, "nft")
	nft := func(text string) string {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(text)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		out, err = exec.Command("nft", "list", "ruleset").CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	const ours = "add table inet mayfly-abcde\n"
	require.NotContains(t, nft(ours+debian), "mayfly-abcde")
	flush := Flush{File: "/etc/nftables.conf", Line: "flush ruleset", Tables: []string{"inet filter"}}
	what, lines, _ := strings.Cut(flush.Instead(), "\n")
	require.Equal(t, `in /etc/nftables.conf, write these lines in the place of "flush ruleset":`, what)
	mended := strings.Replace(debian, "flush ruleset", lines, 1)
	once := nft(ours + mended)
	require.Contains(t, once, "mayfly-abcde")
	require.Contains(t, once, "chain forward")
	require.Equal(t, once, nft(mended), "nothing is there twice")
}

// What is done to reload or start the service must go on; what is done to stop it
// need not.
func TestInsteadInAUnitEmptiesNothingButWhatStopsIt(t *testing.T) {
	flush := Flush{File: "/lib/systemd/system/nftables.service", Unit: true, Tables: []string{"inet filter"}}
	for line, want := range map[string]string{
		"ExecStop=/sbin/nft flush ruleset": `printf '[Service]\nExecStop=\n' ` +
			`>/etc/systemd/system/nftables.service.d/keep-mayfly.conf`,
		`ExecReload=/sbin/nft 'flush ruleset; include "/a";'`: `"ExecReload=", and then ` +
			`ExecReload=/sbin/nft 'flush ruleset; include "/a";'` + " again without \"flush ruleset\"; " +
			"begin the file that it loads with these lines:\n" +
			"table inet filter\ndelete table inet filter",
		"ExecStart=/sbin/nft flush ruleset": `"ExecStart=", and then`,
	} {
		flush.Line = line
		instead := flush.Instead()
		require.Contains(t, instead, want)
		require.Equal(t, strings.HasPrefix(line, "ExecStop="), strings.Contains(instead, "printf"), line)
	}
}
