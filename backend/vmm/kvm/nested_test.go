//go:build linux

package kvm

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNesting(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("only x86-64 nests")
	}
	for name, c := range map[string]struct{ module, value, want string }{
		"no module":        {want: "neither kvm_intel nor kvm_amd"},
		"intel, on":        {module: "kvm_intel", value: "Y\n"},
		"amd, on":          {module: "kvm_amd", value: "1\n"},
		"intel, off":       {module: "kvm_intel", value: "N\n", want: "nested of kvm_intel is off"},
		"amd, off":         {module: "kvm_amd", value: "0\n", want: "nested of kvm_amd is off"},
		"another's module": {module: "kvm", value: "Y\n", want: "neither"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if c.module != "" {
				dir := filepath.Join(root, "sys/module", c.module, "parameters")
				require.NoError(t, os.MkdirAll(dir, 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(dir, "nested"), []byte(c.value), 0o644))
			}
			if err := Nests(root); c.want != "" {
				require.ErrorIs(t, err, ErrNoNesting)
				require.ErrorContains(t, err, c.want)
			} else {
				require.NoError(t, err)
			}
		})
	}
}
