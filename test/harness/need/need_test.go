package need

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// recorder is a test that only tells how it ended.
type recorder struct {
	testing.TB
	end string
}

func (r *recorder) Helper()        {}
func (r *recorder) Fatal(a ...any) { r.leave("failed: " + fmt.Sprint(a...)) }
func (r *recorder) Skip(a ...any)  { r.leave("skipped: " + fmt.Sprint(a...)) }
func (r *recorder) Skipf(format string, a ...any) {
	r.leave("skipped: " + fmt.Sprintf(format, a...))
}

func (r *recorder) leave(end string) {
	r.end = end
	runtime.Goexit()
}

func endOf(test func(testing.TB)) string {
	r := &recorder{end: "passed"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(r)
	}()
	<-done
	return r.end
}

func TestPrograms(t *testing.T) {
	bin := t.TempDir()
	for _, name := range []string{"qemu-system-x86_64", "qemu-img", "nowhere-listed"} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"), 0o755))
	}
	t.Setenv("PATH", bin)
	was := testing.Short()
	t.Cleanup(func() { require.NoError(t, flag.Set("test.short", fmt.Sprint(was))) })
	for _, c := range []struct {
		ci, short string
		names     []string
		end       string
	}{
		{"true", "false", []string{"qemu-system-x86_64", "qemu-img"}, "passed"},
		{"true", "true", []string{"qemu-img"}, "passed"},
		{"true", "true", []string{"qemu-img", "qemu-system-x86_64"}, "skipped: -short leaves out what starts qemu-system-x86_64"},
		{"true", "true", []string{"mmdebstrap"}, "skipped: -short"},
		{"true", "false", []string{"qemu-img", "sw_vers"}, "failed: .*sw_vers"},
		{"", "false", []string{"qemu-img", "sw_vers"}, "skipped: .*sw_vers.*macOS"},
		{"", "false", []string{"sw_vers", "nowhere-listed"}, "failed: .*nowhere-listed.*add it"},
		{"", "true", []string{"mmdebstrap", "nowhere-listed"}, "failed: .*nowhere-listed.*add it"},
	} {
		t.Setenv("CI", c.ci)
		require.NoError(t, flag.Set("test.short", c.short))
		require.Regexp(t, "^"+c.end, endOf(func(tb testing.TB) { Programs(tb, c.names...) }), "%+v", c)
	}
}

func TestOther(t *testing.T) {
	t.Setenv("CI", "")
	require.Equal(t, "skipped: no device", endOf(func(tb testing.TB) { Other(tb, "no device") }))
	t.Setenv("CI", "true")
	require.Equal(t, "failed: no device", endOf(func(tb testing.TB) { Other(tb, "no device") }))
}
