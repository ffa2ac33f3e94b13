package initrd

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// kernelPrefix is what distributions put before the version of a kernel.
const kernelPrefix = "boot/vmlinuz-"

func modulesDir(version string) string { return "lib/modules/" + version }

// newestKernel is the highest version among the kernels whose modules are
// installed.
func newestKernel(root fs.FS) (string, error) {
	kernels, err := fs.Glob(root, kernelPrefix+"*")
	if err != nil {
		return "", fmt.Errorf("looking for a kernel: %w", err)
	}
	newest := ""
	for _, kernel := range kernels {
		version := strings.TrimPrefix(kernel, kernelPrefix)
		if _, err := fs.Stat(root, modulesDir(version)+"/"+dependencies); err != nil {
			continue
		}
		if newest == "" || compareVersions(version, newest) > 0 {
			newest = version
		}
	}
	if newest == "" {
		return "", errors.New("there is no kernel with modules in its /boot")
	}
	return newest, nil
}

// compareVersions compares digits as numbers and the rest as text, so that
// 6.1.0-10 comes after 6.1.0-9.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		var x, y string
		x, a = cutRun(a)
		y, b = cutRun(b)
		c := strings.Compare(x, y)
		if isDigit(x[0]) && isDigit(y[0]) {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			c = cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// cutRun cuts the longest beginning of s that is all digits or has none.
func cutRun(s string) (run, rest string) {
	end := 1
	for end < len(s) && isDigit(s[end]) == isDigit(s[0]) {
		end++
	}
	return s[:end], s[end:]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
