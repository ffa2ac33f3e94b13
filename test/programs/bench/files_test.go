//go:build linux

package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

func TestUnsealGivesBackWhatSealingHasTaken(t *testing.T) {
	root := t.TempDir()
	require.ErrorContains(t, unseal(root), "not sealed as expected")
	for _, name := range sealed {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.Symlink("/dev/null", path))
	}
	masked := filepath.Join(root, "etc/tmpfiles.d/masked.conf")
	require.NoError(t, os.MkdirAll(filepath.Dir(masked), 0o755))
	require.NoError(t, os.Symlink(os.DevNull, masked))
	require.NoError(t, unseal(root))
	require.NoFileExists(t, masked)
	require.NoFileExists(t, filepath.Join(root, "etc/cloud/cloud-init.disabled"))
	target, err := os.Readlink(filepath.Join(root, "etc/systemd/system/sshd.service"))
	require.NoError(t, err)
	require.Equal(t, "/lib/systemd/system/ssh.service", target)
}

func TestFullCopyHasNoHoles(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	require.NoError(t, os.WriteFile(src, []byte("golden"), 0o600))
	require.NoError(t, os.Truncate(src, 8<<20))
	require.NoError(t, fullCopy(t.Context(), src, dst))
	blocks, err := allocatedBlocks(dst)
	require.NoError(t, err)
	require.GreaterOrEqual(t, blocks, float64(8<<20))
	text, err := os.ReadFile(dst)
	require.NoError(t, err)
	require.Equal(t, "golden", string(text[:6]))

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	other := filepath.Join(dir, "other")
	require.ErrorIs(t, fullCopy(cancelled, src, other), context.Canceled)
	require.NoFileExists(t, other)
}

// The pages of the repository itself must have room for the tables.
func TestPagesHaveTheirMarkers(t *testing.T) {
	copies := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(copies, "docs"), 0o755))
	for _, name := range []string{readmeFile, performanceFile} {
		text, err := os.ReadFile(filepath.Join("../../..", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(copies, name), text, 0o644))
	}
	t.Chdir(copies)
	imagined := report.Document{Version: report.Version, Runs: make(map[string]report.Run)}
	for _, section := range report.Sections {
		imagined.Runs[section] = report.Run{Machine: report.Machine{Processor: "imagined " + section}}
	}
	require.NoError(t, write(imagined))
	read := func(name string) string {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		return string(text)
	}
	readme, performance := read(readmeFile), read(performanceFile)
	require.Contains(t, readme, "(imagined workers)")
	for _, section := range report.Sections {
		require.Contains(t, performance, "(imagined "+section+")")
		require.Contains(t, read(documentFile), `"processor": "imagined `+section+`"`)
	}
	require.NoError(t, write(imagined))
	require.Equal(t, readme, read(readmeFile))
	require.Equal(t, performance, read(performanceFile))

	require.NoError(t, write(report.Document{Version: report.Version, Runs: map[string]report.Run{
		report.SectionParts: {Machine: report.Machine{Processor: "later"}}}}))
	require.Equal(t, readme, read(readmeFile), "other sections stay as they were")
	require.Contains(t, read(performanceFile), "(imagined workers)")
	require.Contains(t, read(performanceFile), "(later)")
	require.NotContains(t, read(documentFile), "imagined parts")

	require.NoError(t, os.WriteFile(performanceFile, []byte("no markers"), 0o644))
	require.ErrorContains(t, write(imagined), performanceFile)
	require.Equal(t, readme, read(readmeFile), "no page is touched when one has no markers")
}
