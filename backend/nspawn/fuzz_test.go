//go:build linux

package nspawn

import (
	"path"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIDsOutsideTheContainerAreRefused(t *testing.T) {
	for _, line := range []string{"u:x:-2103967744:0::/home/u:/bin/sh", "u:x:0:65536::/home/u:/bin/sh"} {
		_, err := lookUp(line, "u")
		require.ErrorContains(t, err, "a container has 0 to 65535")
	}
}

// A file of the image says where keys are written to, and as whose.
func FuzzLookUp(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/bash\nmayfly:x:1000:1000::/home/mayfly:/bin/bash\n", "mayfly")
	f.Add("u:x:-1:99999999999999999999::/../..:", "u")
	f.Add("u:x:0:0::/home/../etc:\n", "u")
	f.Fuzz(func(t *testing.T, passwd, name string) {
		user, err := lookUp(passwd, name)
		if err != nil {
			return
		}
		require.True(t, user.uid >= 0 && user.uid < ids && user.gid >= 0 && user.gid < ids, "%+v", user)
		require.True(t, path.IsAbs(user.home) && path.Clean(user.home) == user.home && user.home != "/", "%+v", user)
	})
}

func FuzzVersion(f *testing.F) {
	f.Add("systemd 252 (252.39-1)\n+PAM")
	f.Add("systemd 257~rc1")
	f.Add("systemd -1")
	f.Add("systemd 0 (0)")
	f.Fuzz(func(t *testing.T, said string) {
		if version, err := parseVersion(said); err == nil {
			require.Positive(t, version)
		}
	})
}
