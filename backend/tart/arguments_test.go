package tart

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestArguments compares every command line with a file, one argument a line.
// UPDATE=1 writes them anew.
func TestArguments(t *testing.T) {
	plain := Settings{Network: NAT}
	for name, got := range map[string][]string{
		"run": runArguments("p-a", plain, false),
		"run-everything": runArguments("p-a", Settings{
			Dirs: []string{"/srv/shared", "cache:/srv/cache:ro,tag=cache"}, Disks: []string{"/srv/a.img:ro,sync=none"},
			RootDisk: "sync=none,caching=cached", Network: Softnet, Nested: true,
			SoftnetAllow: prefixes("192.168.1.0/24", "10.0.0.1/32"), SoftnetBlock: prefixes("0.0.0.0/0"),
		}, false),
		"run-suspendable": runArguments("p-a", plain, true),
		"run-bridged":     runArguments("p-a", Settings{Network: Bridged, Bridged: []string{"en0", "en1"}}, false),
		"run-host":        runArguments("p-a", Settings{Network: Host}, false),
		"set":             setArguments("p-a", hardware{CPUs: 4, Memory: 8 << 30}),
		"set-everything":  setArguments("p-a", hardware{CPUs: 4, Memory: 8 << 30, DiskGB: 80, Serial: true}),
		"pull":            pullArguments("registry.example.org/a/b:c", Registry{}),
		"pull-everything": pullArguments("registry.example.org/a/b:c", Registry{Insecure: true, Concurrency: 8}),
		"clone":           cloneArguments("base", "p-a", false, Registry{Insecure: true}),
		"clone-remote": cloneArguments("registry.example.org/a/b:c", "p-a", true,
			Registry{Insecure: true, Concurrency: 2}),
		"ip":   ipArguments("p-a", "agent"),
		"stop": stopArguments("p-a"),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", "arguments", name)
			text := strings.Join(got, "\n") + "\n"
			if os.Getenv("UPDATE") != "" {
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), text)
		})
	}
}

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func TestShares(t *testing.T) {
	require.Equal(t, 5, cpuShare(10, 2))
	require.Equal(t, 1, cpuShare(2, 4))
	require.Equal(t, int64(7<<30), memoryShare(16<<30, 2))
	require.Zero(t, memoryShare(17<<30+12345, 3)%(1<<20), "Tart takes mebibytes")
}

func TestPathOfAShare(t *testing.T) {
	for spec, want := range map[string]string{
		"/srv/a": "/srv/a", "/srv/a:ro": "/srv/a", "n:/srv/a:ro,tag=t": "/srv/a", "/srv/a,tag=t": "/srv/a",
	} {
		require.Equal(t, want, dirPath(spec))
	}
}

func TestListIsRead(t *testing.T) {
	list := func(answer string) ([]listed, error) {
		path := filepath.Join(t.TempDir(), "tart")
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\ncat <<'end'\n"+answer+"\nend\n"), 0o700))
		return tool{binary: path}.list(t.Context(), "local")
	}
	all, err := list("[\n\n]")
	require.NoError(t, err)
	require.Empty(t, all)
	all, err = list(`[{"Source":"local","Name":"farm-7f3a","Disk":50,"Size":21,"Accessed":"2026-08-20T10:00:00Z",` +
		`"Running":true,"State":"running"}]`)
	require.NoError(t, err)
	require.Equal(t, []listed{{"local", "farm-7f3a", "running"}}, all)
	_, err = list("Source Name")
	require.ErrorContains(t, err, "reading tart list")
}
