package island

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHostResolver(t *testing.T) {
	stub := "nameserver 127.0.0.53\noptions edns0\n"
	for name, test := range map[string]struct{ conf, systemd, want string }{
		"plain":             {"search lan\nnameserver 192.168.1.1\nnameserver 9.9.9.9\n", "", "192.168.1.1"},
		"loopback first":    {"nameserver ::1\nnameserver 127.0.0.1\nnameserver 9.9.9.9", "", "9.9.9.9"},
		"systemd-resolved":  {stub, "nameserver 192.168.1.1\n", "192.168.1.1"},
		"IPv6 only":         {"nameserver 2001:db8::1\nnameserver fe80::1%eth0\n", "", ""},
		"IPv4 in IPv6":      {"nameserver ::ffff:192.0.2.1\n", "", "192.0.2.1"},
		"comments and junk": {"# nameserver 1.1.1.1\n;nameserver 1.1.1.1\nnameserver\nnameserver x\n", "", ""},
		"nothing but stub":  {stub, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			files := []string{filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "systemd")}
			require.NoError(t, os.WriteFile(files[0], []byte(test.conf), 0o600))
			require.NoError(t, os.WriteFile(files[1], []byte(test.systemd), 0o600))
			want, _ := netip.ParseAddr(test.want)
			require.Equal(t, want, hostResolver(files))
		})
	}
	require.Equal(t, netip.Addr{}, hostResolver([]string{"/nonexistent"}))
}

func TestOptionsReportEveryMistake(t *testing.T) {
	err := Options{PoolDir: "pools/p"}.validate()
	for _, part := range []string{`"pools/p"`, "no name"} {
		require.ErrorContains(t, err, part)
	}
}
