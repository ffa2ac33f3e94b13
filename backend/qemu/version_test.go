//go:build linux

package qemu

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMemoryIsOpenedForReadingWhereQEMUCan(t *testing.T) {
	for line, want := range map[string]bool{
		"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)": false,
		"QEMU emulator version 8.1.5":                                 false,
		"QEMU emulator version 8.2.0":                                 true,
		"QEMU emulator version 10.0.2 (Debian 1:10.0.2)":              true,
	} {
		v, err := parseVersion(line)
		require.NoError(t, err)
		require.Equal(t, want, v.mapsReadOnly(), line)
	}
	_, err := parseVersion("QEMU emulator, some version")
	require.Error(t, err)
}

// TestABinaryIsAskedAgainWhenItIsAnother has a script for QEMU.
func TestABinaryIsAskedAgainWhenItIsAnother(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "qemu")
	known := versions{log: slog.New(slog.DiscardHandler)}
	require.Equal(t, version{}, known.of(binary), "there is none")
	for i, v := range []string{"7.2", "8.2"} {
		script := "#!/bin/sh\necho QEMU emulator version " + v + ".0\n"
		require.NoError(t, os.WriteFile(binary, []byte(script), 0o755))
		then := time.Unix(int64(1700000000+i), 0)
		require.NoError(t, os.Chtimes(binary, then, then))
		require.Equal(t, v == "8.2", known.of(binary).mapsReadOnly(), v)
	}
}

// TestABinaryThatDoesNotSayItsVersionIsNamedOnce has one that fails, and then one that
// is well.
func TestABinaryThatDoesNotSayItsVersionIsNamedOnce(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "qemu")
	require.NoError(t, os.WriteFile(binary, []byte("#!/bin/sh\nexit 1\n"), 0o755))
	var said bytes.Buffer
	known := versions{log: slog.New(slog.NewTextHandler(&said, nil))}
	for range 3 {
		require.Equal(t, version{}, known.of(binary))
	}
	require.Equal(t, 1, strings.Count(said.String(), "level=WARN"), said.String())
	require.Contains(t, said.String(), "asking "+binary+" for its version: exit status 1")
	require.NoError(t, os.WriteFile(binary, []byte("#!/bin/sh\necho QEMU emulator version 8.2.0\n"), 0o755))
	require.True(t, known.of(binary).mapsReadOnly(), "it is asked again")
}
