//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// clone is the command line of a clone, as the backend's golden file has it:
// each option and its value on a line.
func clone(t *testing.T, golden string) []string {
	t.Helper()
	text, err := os.ReadFile("../../../backend/qemu/testdata/" + golden)
	require.NoError(t, err)
	command := []string{"/usr/bin/qemu"}
	for line := range strings.Lines(string(text)) {
		command = append(command, strings.SplitN(strings.TrimSpace(line), " ", 2)...)
	}
	return command
}

func TestOldWayIsTheSameMachineButForItsDiskAndSeed(t *testing.T) {
	for _, golden := range []string{"tcg-overlay.txt", "kvm-reflink.txt"} {
		before := clone(t, golden)
		dir, file := filepath.Split(diskPath(before))
		dir = filepath.Clean(dir)
		command, err := generalised(before, dir)
		require.NoError(t, err)
		after := in(command, "/old/dir")
		require.Equal(t, "/old/dir/"+file, diskPath(after))
		require.Equal(t, "raw", diskFormat(after))
		require.NotContains(t, strings.Join(after, " "), dir+"/")

		require.Len(t, after, len(before)+6, "three options of the seed volume")
		require.Contains(t, after, "driver=file,node-name=seed-file,read-only=on,filename=/old/dir/seed.iso")
		for i, argument := range before {
			argument = strings.ReplaceAll(argument, dir, "/old/dir")
			switch {
			case i > 0 && before[i-1] == "-append":
				argument += " ds=nocloud"
			case strings.Contains(argument, "node-name=root,"):
				argument = strings.Replace(argument, "driver=qcow2", "driver=raw", 1)
			}
			require.Equal(t, argument, after[i])
		}
	}
}

func TestFormatOfAClone(t *testing.T) {
	require.Equal(t, "qcow2", diskFormat(clone(t, "tcg-overlay.txt")))
	require.Equal(t, "raw", diskFormat(clone(t, "kvm-reflink.txt")))
	require.Equal(t, "", diskFormat(nil))
}

func TestCommandLinesThatCannotBeTheOldWay(t *testing.T) {
	_, err := generalised([]string{"qemu", "-name", "x"}, "/w")
	require.ErrorContains(t, err, "without a kernel")
	_, err = generalised([]string{"qemu", "-append", "console=x"}, "/w")
	require.ErrorContains(t, err, "no root disk")
}
