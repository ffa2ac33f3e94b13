//go:build linux

package nspawn

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestCommandLines(t *testing.T) {
	const worker = "/state/pools/p/workers/p-aaaaaaaa"
	for name, spec := range map[string]commandSpec{
		"overlay": {
			Version: 252, Memory: 1 << 30, Name: "p-aaaaaaaa", Form: image.ShiftedTree,
			Join:   []string{"/sys/fs/cgroup/mayfly.slice/x.scope/machine/cgroup.procs"},
			Mounts: mounts(image.Golden{Dir: "/state/images/a:b"}, worker),
		},
		"nested": {
			Version: 252, Memory: 1 << 30, Name: "p-aaaaaaaa", Form: image.ShiftedTree, KVM: worker + "/kvm",
			Mounts: mounts(image.Golden{Dir: "/state/images/a"}, worker),
		},
		"in-a-scope": {
			Version: 249, Memory: 1 << 30, Name: "p-aaaaaaaa", Form: image.Tree, Mounts: mounts(image.Golden{Dir: "/state/images/a"}, worker),
		},
		"prebuild": {
			Version: 257, Name: "p-aaaaaaaa", Form: image.ShiftedTree, Mounts: []mount{bind("/state/images/.building-x/root", worker+"/root")},
			Join: []string{"/a/cgroup.procs", "/b/cgroup.procs"}, Command: []string{"/usr/local/lib/mayfly/agent", "guest"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(spec.arguments(), "\n") + "\n"
			path := filepath.Join("testdata", name+".txt")
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(string(want), got))
		})
	}
}

func TestSupervisorsAreToldFromOthers(t *testing.T) {
	b := New(Options{WorkersDir: "/state/pools/p/workers"})
	spec := commandSpec{Name: "p-aaaaaaaa", Mounts: []mount{bind("/x", b.directory("p-aaaaaaaa"))}}
	id, ours := b.tag.ID(append([]string{"unshare"}, spec.arguments()...))
	require.True(t, ours)
	require.Equal(t, "p-aaaaaaaa", id)
	for _, foreign := range []string{
		"--directory=/state/pools/q/workers/p-aaaaaaaa/root", "--directory=/state/pools/p/workers/p-aaaaaaaa",
		"--directory=/state/pools/p/workers/lost+found/root", "--directory=/var/lib/machines/x", "p-aaaaaaaa",
	} {
		_, ours := b.tag.ID([]string{"systemd-nspawn", foreign})
		require.False(t, ours, foreign)
	}
	elsewhere := New(Options{WorkersDir: "/other/pools/p/workers"})
	require.NotEqual(t, b.units.Name("p-aaaaaaaa"), elsewhere.units.Name("p-aaaaaaaa"), "pools of one name in two state directories")
}

func TestVersions(t *testing.T) {
	for said, want := range map[string]int{
		"systemd 252 (252.39-1~deb12u2)\n+PAM": 252, "systemd 257 (257.9-1)": 257, "systemd 258~rc2 (258~rc2-1)": 258,
	} {
		got, err := parseVersion(said)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := parseVersion("command not found\n")
	require.ErrorContains(t, err, "command not found")
}

func TestAccountsOfAnImage(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/bash\nmayfly:x:1000:1001::/home/mayfly:/bin/bash\nodd:x:1:\nlost:x:1:1::/:/bin/sh\n"
	got, err := lookUp(passwd, "mayfly")
	require.NoError(t, err)
	require.Equal(t, account{1000, 1001, "/home/mayfly"}, got)
	for name, want := range map[string]string{"odd": "malformed", "lost": "home directory", "may": "no account may"} {
		_, err := lookUp(passwd, name)
		require.ErrorContains(t, err, want)
	}
}

func TestIdentityIsTheAgentsFiles(t *testing.T) {
	var names []string
	identity := guest.Identity{Hostname: "p-aaaaaaaa"}
	for _, file := range identityFiles(identity, account{1000, 1000, "/home/mayfly"}, "") {
		names = append(names, file.Name)
		if strings.Contains(file.Name, "key") && !strings.HasSuffix(file.Name, ".pub") {
			require.EqualValues(t, 0o600, file.Mode, file.Name)
		}
	}
	require.Equal(t, []string{
		"etc/machine-id", "etc/hostname", "etc/hosts", "etc/resolv.conf",
		"etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_ed25519_key.pub", "home/mayfly/.ssh/authorized_keys",
	}, names)
}
