//go:build linux

package island

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

func TestHostResolvers(t *testing.T) {
	stub := "nameserver 127.0.0.53\noptions edns0\n"
	for name, test := range map[string]struct {
		conf, systemd string
		want          []string
	}{
		"plain":             {"search lan\nnameserver 192.168.1.1\nnameserver 9.9.9.9\n", "", []string{"192.168.1.1", "9.9.9.9"}},
		"loopback first":    {"nameserver ::1\nnameserver 127.0.0.1\nnameserver 9.9.9.9", "", []string{"9.9.9.9"}},
		"systemd-resolved":  {stub, "nameserver 192.168.1.1\n", []string{"192.168.1.1"}},
		"IPv6":              {"nameserver 2001:db8::1\nnameserver fe80::1%eth0\n", "", []string{"2001:db8::1", "fe80::1%eth0"}},
		"IPv4 in IPv6":      {"nameserver ::ffff:192.0.2.1\n", "", []string{"192.0.2.1"}},
		"comments and junk": {"# nameserver 1.1.1.1\n;nameserver 1.1.1.1\nnameserver\nnameserver x\n", "", nil},
		"nothing but stubs": {stub, "nameserver ::1", []string{"127.0.0.53", "::1"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			files := []string{filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "systemd")}
			require.NoError(t, os.WriteFile(files[0], []byte(test.conf), 0o600))
			require.NoError(t, os.WriteFile(files[1], []byte(test.systemd), 0o600))
			require.Equal(t, addresses(test.want...), hostResolvers(files))
		})
	}
	require.Empty(t, hostResolvers([]string{"/nonexistent"}))
}

func TestSearchDomainsOfAResolvConf(t *testing.T) {
	for conf, want := range map[string][]string{
		"nameserver 9.9.9.9\n":                   nil,
		"search Corp.Example.com. lan\n":         {"corp.example.com", "lan"},
		"domain lan\nsearch a.test\tb.test\n":    {"a.test", "b.test"},
		"search a.test\ndomain lan\n":            {"lan"},
		"search . _x.test $(x) a\u00e9.test\n":   {"_x.test"},
		"searching a.test\nsearch\n# search b\n": nil,
	} {
		require.Equal(t, want, searchDomains(conf), conf)
	}
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "none"), filepath.Join(dir, "empty"), filepath.Join(dir, "systemd")}
	require.NoError(t, os.WriteFile(files[1], []byte("nameserver 127.0.0.53\nsearch .\n"), 0o600))
	require.NoError(t, os.WriteFile(files[2], []byte("search corp.test\n"), 0o600))
	require.Equal(t, []string{"corp.test"}, hostSearch(files))
}

func TestTheListOfDomainsComesBeforeTheHosts(t *testing.T) {
	for _, test := range []struct {
		given []string
		want  string
	}{
		{[]string{"a.test", "b.test"}, "a.test b.test"}, {[]string{}, ""},
		{nil, strings.Join(hostSearch(resolvConfs), " ")},
	} {
		i := &Island{options: Options{Policy: network.Policy{Search: test.given}}}
		require.Equal(t, test.want, i.search())
	}
}

func addresses(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

func TestTheRelayAnswersOnlyWhereTheKernelCannot(t *testing.T) {
	for name, test := range map[string]struct {
		resolvers []string
		byName    bool
		redirect  string
		relay     bool
	}{
		"one":            {resolvers: []string{"9.9.9.9"}, redirect: "9.9.9.9"},
		"private":        {resolvers: []string{"10.1.2.3"}, redirect: "10.1.2.3"},
		"names listed":   {resolvers: []string{"9.9.9.9"}, byName: true, relay: true},
		"several":        {resolvers: []string{"9.9.9.9", "10.1.2.3"}, relay: true},
		"loopback stub":  {resolvers: []string{"127.0.0.53"}, relay: true},
		"IPv6":           {resolvers: []string{"2001:db8::1"}, relay: true},
		"none":           {},
		"none but names": {byName: true},
	} {
		t.Run(name, func(t *testing.T) {
			got := answer(addresses(test.resolvers...), test.byName)
			want, _ := netip.ParseAddr(test.redirect)
			require.Equal(t, want, got.redirect)
			require.Equal(t, test.relay, got.relay)
			require.Equal(t, len(test.resolvers) == 0, got.nobody())
		})
	}
}
