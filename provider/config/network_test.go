package config_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

// to is a destination without ports.
func to(text string) network.Destination { return network.Destination{Prefix: prefix(text)} }

func TestGoodNetworks(t *testing.T) {
	address := netip.MustParseAddr
	tests := []struct {
		text   string
		change func(*config.Network)
	}{
		{`{}`, func(*config.Network) {}},
		{`{"allow":["10.1.0.0/16","192.168.1.1/32"]}`, func(n *config.Network) {
			n.Allow = []network.Destination{to("10.1.0.0/16"), to("192.168.1.1/32")}
		}},
		{`{"allow":["10.1.2.3/32 tcp/443","udp/5000-5999"]}`, func(n *config.Network) {
			n.Allow = []network.Destination{
				{Prefix: prefix("10.1.2.3/32"), Ports: network.Ports{Protocol: network.TCP, First: 443, Last: 443}},
				{Ports: network.Ports{Protocol: network.UDP, First: 5000, Last: 5999}},
			}
		}},
		{`{"allow":["fd00::/8"],"ipv6":"nat"}`, func(n *config.Network) {
			n.Allow, n.IPv6 = []network.Destination{to("fd00::/8")}, network.IPv6{On: true}
		}},
		{`{"allow":["private"],"deny":[]}`, func(n *config.Network) {
			n.Allow = network.DefaultDeny()[:len(network.DefaultDeny())-1] // but for smtp
			n.Deny = []network.Destination{}
		}},
		{`{"allow":["10.0.0.0/8"],"deny":["private"]}`, func(n *config.Network) { // an exception
			n.Allow = []network.Destination{to("10.0.0.0/8")}
			n.Deny = network.DefaultDeny()[:len(network.DefaultDeny())-1]
		}},
		{`{"allow":["tcp/25"]}`, func(n *config.Network) { // an exception from the default
			n.Allow = []network.Destination{{Ports: network.Ports{Protocol: network.TCP, First: 25, Last: 25}}}
		}},
		{`{"deny":["0.0.0.0/0","::/0"]}`, func(n *config.Network) { n.Deny = []network.Destination{to("0.0.0.0/0"), to("::/0")} }},
		{`{"deny":["private","smtp"]}`, func(n *config.Network) { n.Deny = network.DefaultDeny() }},
		{`{"deny":[]}`, func(n *config.Network) { n.Deny = []network.Destination{} }},
		{`{"allow":[]}`, func(n *config.Network) { n.Allow = []network.Destination{} }},
		{`{"domains":["GitLab.Example.com.","*.debian.org"]}`, func(n *config.Network) { n.Domains = []string{"gitlab.example.com", "*.debian.org"} }},
		{`{"dns":[]}`, func(n *config.Network) { n.DNS = []netip.Addr{} }},
		{`{"dns":["9.9.9.9"]}`, func(n *config.Network) { n.DNS = []netip.Addr{address("9.9.9.9")} }},
		{`{"dns":["::ffff:9.9.9.9","127.0.0.53","2620:fe::fe"]}`, func(n *config.Network) {
			n.DNS = []netip.Addr{address("9.9.9.9"), address("127.0.0.53"), address("2620:fe::fe")}
		}},
		{`{"dns":["2620:fe::fe"]}`, func(n *config.Network) { n.DNS = []netip.Addr{address("2620:fe::fe")} }},
		{`{"search":[]}`, func(n *config.Network) { n.Search = []string{} }},
		{`{"search":["Corp.Example.com.","lan"]}`,
			func(n *config.Network) { n.Search = []string{"corp.example.com", "lan"} }},
		{`{"ipv6":"off"}`, func(*config.Network) {}},
		{`{"ipv6":false}`, func(*config.Network) {}},
		{`{"ipv6":null}`, func(*config.Network) {}},
		{`{"ipv6":true}`, func(n *config.Network) { n.IPv6.On = true }},
		{`{"ipv6":"2001:db8:1:2::/64"}`, func(n *config.Network) { n.IPv6 = network.IPv6{On: true, Prefix: prefix("2001:db8:1:2::/64")} }},
		{`{"bandwidth":"100mbit"}`, func(n *config.Network) { n.Bandwidth = 100e6 }},
		{`{"bandwidth":"1 Gbit"}`, func(n *config.Network) { n.Bandwidth = 1e9 }},
		{`{"bandwidth":"1000KBIT"}`, func(n *config.Network) { n.Bandwidth = 1e6 }},
		{`{"bandwidth":"100gbit"}`, func(n *config.Network) { n.Bandwidth = 1e11 }},
		{`{"connections":0}`, func(n *config.Network) { n.Connections = 0 }},
		{`{"connections":1000000}`, func(n *config.Network) { n.Connections = 1000000 }},
		{`{"connection_rate":0}`, func(n *config.Network) { n.ConnectionRate = 0 }},
		{`{"connection_rate":1}`, func(n *config.Network) { n.ConnectionRate = 1 }},
		{`{"log_denied":true}`, func(n *config.Network) { n.LogDenied = true }},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			got, err := config.Parse([]byte(`{"network":` + test.text + `}`))
			require.NoError(t, err)
			want := changed(func(c *config.Config) { test.change(&c.Network) })
			assert.Empty(t, diff(want, got))

			written, err := json.Marshal(got)
			require.NoError(t, err)
			again, err := config.Parse(written)
			require.NoError(t, err, string(written))
			assert.Empty(t, diff(want, again))
		})
	}
}

func TestDefaultLimits(t *testing.T) {
	n := config.Default().Network
	assert.Equal(t, 4096, n.Connections)
	assert.Equal(t, 500, n.ConnectionRate)
	assert.Zero(t, n.Bandwidth, "without limit")
	assert.False(t, n.IPv6.On)
}

func TestBadNetworks(t *testing.T) {
	const howToWrite = `write a network such as "10.210.0.0/16", ports such as "tcp/443" or "udp/5000-5999", ` +
		`both such as "10.210.0.0/16 tcp/443", or one of the words "private" and "smtp"`
	for text, want := range map[string]string{
		`{"subnet":"fd00::/64"}`: `subnet: "fd00::/64" is not IPv4: write for instance "10.210.0.0/16"`,

		`{"allow":["10.0.0.0/8","1.2.3.4"]}`:            `allow[1]: "1.2.3.4" is an address: write "1.2.3.4/32" for it alone`,
		`{"allow":["10.1.2.3/8 tcp/443"]}`:              `allow[0]: "10.1.2.3/8" has bits set after its prefix: write "10.0.0.0/8"`,
		`{"allow":["tcp/http"]}`:                        `allow[0]: "tcp/http" names no ports: write for instance "tcp/443" or "udp/5000-5999", from 1 to 65535`,
		`{"allow":["gitlab.example.com"]}`:              `allow[0]: "gitlab.example.com" is a name: write it into domains, or the networks of its addresses here`,
		`{"allow":["fd00::/8"]}`:                        `allow[0]: "fd00::/8" is not reached while IPv6 is off: set network.ipv6, or remove it`,
		`{"allow":["tcp/1","::/0 tcp/2"],"ipv6":"off"}`: `allow[1]: "::/0 tcp/2" is not reached while IPv6 is off: set network.ipv6, or remove it`,
		`{"deny":"10.0.0.0/8"}`:                         `deny: want a list of strings, have the string "10.0.0.0/8": write for instance ["private", "smtp"]`,
		`{"deny":["metadata"]}`:                         `deny[0]: "metadata" is not a valid network: ` + howToWrite,
		`{"deny":["2001:db8::1"]}`:                      `deny[0]: "2001:db8::1" is an address: write "2001:db8::1/128" for it alone`,
		`{"deny":["private",""]}`:                       `deny[1]: "" is not a valid destination: ` + howToWrite,

		`{"allow":["10.0.0.0/8"],"deny":["private","10.0.0.0/8"]}`:              `allow: "10.0.0.0/8" is in deny too: remove it from one of the two`,
		`{"allow":["private"],"deny":["private"]}`:                              `allow: "private" is in deny too: remove it from one of the two`,
		`{"allow":["smtp"],"deny":["tcp/25"]}`:                                  `allow: "tcp/25" is in deny too: remove it from one of the two`,
		`{"allow":["FD00::/8 udp/1-1"],"deny":["fd00::/8 udp/1"],"ipv6":"nat"}`: `allow: "fd00::/8 udp/1" is in deny too: remove it from one of the two`,

		`{"domains":[]}`:                     `domains: empty, which might mean every name or none: write names, or remove it for every name`,
		`{"domains":"a.example"}`:            `domains: want a list of strings, have the string "a.example": write for instance ["gitlab.example.com", "*.debian.org"]`,
		`{"domains":[1]}`:                    `domains[0]: want a string, have the number 1: write for instance domains = ["gitlab.example.com", "*.debian.org"]`,
		`{"domains":["a.example","*"]}`:      `domains[1]: "*" is every name: remove domains for that, or write for instance "*.example.com"`,
		`{"domains":["https://a.example/"]}`: `domains[0]: "https://a.example/" is a URL or a path: write the name in it alone, for instance "gitlab.example.com"`,
		`{"domains":["10.1.2.3"]}`:           `domains[0]: "10.1.2.3" is an address: write "10.1.2.3/32" into allow`,

		`{"search":["*.example.com"]}`: `search[0]: "*.example.com" stands for many names: ` +
			`write one domain, for instance "corp.example.com"`,
		`{"search":["lan","lan"]}`: `search[1]: "lan" is there twice: remove one of the two`,
		`{"search":["a b"]}`: `search[0]: "a b" is not a valid name: ` +
			`"a b" may have a to z, 0 to 9, - and _ alone: write for instance "gitlab.example.com"`,

		`{"dns":["dns.quad9.net"]}`:                                 `dns[0]: "dns.quad9.net" is not a valid address: write for instance "9.9.9.9" or "2620:fe::fe"`,
		`{"dns":["9.9.9.9:53"]}`:                                    `dns[0]: "9.9.9.9:53" is not a valid address: write for instance "9.9.9.9" or "2620:fe::fe"`,
		`{"dns":["9.9.9.9","fe80::1%eth0"]}`:                        `dns[1]: "fe80::1%eth0" has a zone, which is the host's own: write an address without one`,
		`{"dns":["0.0.0.0"]}`:                                       `dns[0]: "0.0.0.0" answers nobody: write for instance "9.9.9.9"`,
		`{"dns":["224.0.0.251"]}`:                                   `dns[0]: "224.0.0.251" answers nobody: write for instance "9.9.9.9"`,
		`{"dns":["198.18.0.1"]}`:                                    `dns[0]: "198.18.0.1" is what workers ask already: write the address of a resolver outside them`,
		`{"dns":["9.9.9.9","fd6d:6179:666c:7900::1"]}`:              `dns[1]: "fd6d:6179:666c:7900::1" is what workers ask already: write the address of a resolver outside them`,
		`{"dns":["9.9.9.9","1.1.1.1","9.9.9.9"]}`:                   `dns[2]: 9.9.9.9 is there twice: remove one of the two`,
		`{"dns":["2620:fe::fe","::ffff:9.9.9.9","9.9.9.9"]}`:        `dns[2]: 9.9.9.9 is there twice: remove one of the two`,
		`{"dns":["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4"]}`:         `dns: has 4 resolvers, and 3 are the most that are asked: remove some`,
		`{"dns":["2620:fe::fe"],"ipv6":"yes","allow":["fd00::/8"]}`: `ipv6: "yes" is neither "off", "nat" nor a network: write for instance "2001:db8:1:2::/64" if that is routed to this host`,

		`{"ipv6":["nat"]}`:          `ipv6: want a string, have a list: write for instance "nat"`,
		`{"ipv6":"2001:db8::1/64"}`: `ipv6: "2001:db8::1/64" has bits set after its prefix: write "2001:db8::/64"`,
		`{"ipv6":"2001:db8::/112"}`: `ipv6: 2001:db8::/112 is too small for the workers' addresses: write a prefix of /96 or shorter`,
		`{"ipv6":"fe80::/64"}`:      `ipv6: fe80::/64 is never routed to a host: write a part of 2000::/3 or fc00::/7, or "nat"`,

		`{"bandwidth":100}`:                       `bandwidth: want a string, have the number 100: write for instance "100mbit"`,
		`{"bandwidth":""}`:                        `bandwidth: "" is not a valid bandwidth: write a whole number with a unit, for instance "100mbit"`,
		`{"bandwidth":"1.5gbit"}`:                 `bandwidth: "1.5gbit" is not a valid bandwidth: write a whole number with a unit, for instance "100mbit"`,
		`{"bandwidth":"100"}`:                     `bandwidth: "100" has no unit: write for instance "100mbit"`,
		`{"bandwidth":"100MiB"}`:                  `bandwidth: "100MiB" is a size: write bits per second, for instance "100mbit"`,
		`{"bandwidth":"100MB"}`:                   `bandwidth: "100MB" is a size: write bits per second, for instance "100mbit"`,
		`{"bandwidth":"100mbps"}`:                 `bandwidth: "100mbps" has an unknown unit: use kbit, mbit or gbit, which are bits per second, for instance "100mbit"`,
		`{"bandwidth":"100Mbit/s"}`:               `bandwidth: "100Mbit/s" has an unknown unit: use kbit, mbit or gbit, which are bits per second, for instance "100mbit"`,
		`{"bandwidth":"999kbit"}`:                 `bandwidth: "999kbit" is too little: write at least "1mbit", or remove it for no limit`,
		`{"bandwidth":"0gbit"}`:                   `bandwidth: "0gbit" is too little: write at least "1mbit", or remove it for no limit`,
		`{"bandwidth":"-1mbit"}`:                  `bandwidth: "-1mbit" is negative: write for instance "100mbit"`,
		`{"bandwidth":"101gbit"}`:                 `bandwidth: "101gbit" is more than can be kept to: write at most "100gbit", or remove it for no limit`,
		`{"bandwidth":"9999999999999999999mbit"}`: `bandwidth: "9999999999999999999mbit" is more than can be kept to: write at most "100gbit", or remove it for no limit`,

		`{"connections":-1}`:          `connections: -1 is negative: write a number, or 0 for no limit`,
		`{"connections":"4096"}`:      `connections: want a whole number, have the string "4096": write for instance 4096`,
		`{"connections":1000001}`:     `connections: 1000001 is more than a host bears: write a number up to 1000000, or 0 for no limit`,
		`{"connection_rate":-5}`:      `connection_rate: -5 is negative: write a number, or 0 for no limit`,
		`{"connection_rate":0.5}`:     `connection_rate: want a whole number, have the number 0.5: write for instance 500`,
		`{"connection_rate":1000001}`: `connection_rate: 1000001 is more than a host bears: write a number up to 1000000, or 0 for no limit`,
		`{"connections_rate":5}`:      `connections_rate: unknown key: did you mean "connection_rate"?`,

		`{"log_denied":"yes"}`: `log_denied: want true or false, have the string "yes": write for instance true`,
		`{"log_denied":1}`:     `log_denied: want true or false, have the number 1: write for instance true`,
		`{"log_denied":[]}`:    `log_denied: want true or false, have a list: write for instance true`,
	} {
		t.Run(text, func(t *testing.T) {
			_, err := config.Parse([]byte(`{"network":` + text + `}`))
			require.EqualError(t, err, "plugin_config.network."+want)
		})
	}
}

func TestEveryMistakeOfTheNetworkIsReported(t *testing.T) {
	assert.Equal(t, []string{
		`plugin_config.network.allow: "tcp/25" is in deny too: remove it from one of the two`,
		`plugin_config.network.allow[1]: "fd00::/8" is not reached while IPv6 is off: set network.ipv6, or remove it`,
		`plugin_config.network.allow[2]: "1.2.3.4" is an address: write "1.2.3.4/32" for it alone`,
		`plugin_config.network.bandwidth: "1" has no unit: write for instance "100mbit"`,
		`plugin_config.network.connection_rate: -1 is negative: write a number, or 0 for no limit`,
		`plugin_config.network.connections: -1 is negative: write a number, or 0 for no limit`,
		`plugin_config.network.dns[1]: 9.9.9.9 is there twice: remove one of the two`,
		`plugin_config.network.dns[2]: "x" is not a valid address: write for instance "9.9.9.9" or "2620:fe::fe"`,
		`plugin_config.network.domains[0]: "a:1" has a port: write the name alone, for instance "gitlab.example.com"`,
	}, lines(t, `{"network":{"allow":["smtp","fd00::/8","1.2.3.4"],"deny":["tcp/25"],"domains":["a:1"],"dns":["9.9.9.9","9.9.9.9","x"],
		"bandwidth":"1","connections":-1,"connection_rate":-1}}`))
}

// TestAnyNetworkIsWrittenAsItIsRead puts parts together that are right alone.
// What contradicts itself is refused; anything else must come back as it was.
func TestAnyNetworkIsWrittenAsItIsRead(t *testing.T) {
	list := func(words ...string) *rapid.Generator[[]string] {
		return rapid.SliceOfN(rapid.SampledFrom(words), 0, 3)
	}
	destinations := list("private", "smtp", "tcp/25", "10.0.0.0/8", "fd00::/8", "10.1.0.0/16 tcp/443", "udp/5000-5999", "0.0.0.0/8")
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		keys := map[string]any{
			"allow":       destinations.Draw(t, "allow"),
			"deny":        destinations.Draw(t, "deny"),
			"domains":     list("gitlab.example.com", "*.Debian.org.").Draw(t, "domains"),
			"dns":         list("9.9.9.9", "127.0.0.53", "2620:fe::fe").Draw(t, "dns"),
			"ipv6":        rapid.SampledFrom([]any{"off", "nat", "2001:db8::/48", true, false}).Draw(t, "ipv6"),
			"bandwidth":   rapid.SampledFrom([]any{"1mbit", "1001kbit", "3Gbit"}).Draw(t, "bandwidth"),
			"connections": rapid.IntRange(0, 5000).Draw(t, "connections"),
			"log_denied":  rapid.Bool().Draw(t, "log_denied"),
		}
		for key := range keys {
			if rapid.Bool().Draw(t, "without "+key) {
				delete(keys, key)
			}
		}
		text, err := json.Marshal(map[string]any{"network": keys})
		require.NoError(t, err)
		first, err := config.Parse(text)
		if err != nil {
			return
		}
		accepted++
		written, err := json.Marshal(first)
		require.NoError(t, err)
		second, err := config.Parse(written)
		require.NoError(t, err, "%s", written)
		require.Equal(t, first, second)
	})
	require.NotZero(t, accepted)
}

// TestGuideHasGoodExamples reads every example of the guide as it stands there.
func TestGuideHasGoodExamples(t *testing.T) {
	page, err := os.ReadFile("../../docs/guides/network.md")
	require.NoError(t, err)
	parts := strings.Split(string(page), "```")
	examples := 0
	for _, part := range parts {
		example, isTOML := strings.CutPrefix(part, "toml\n")
		if !isTOML {
			continue
		}
		examples++
		_, _, err := config.Load(write(t, "[[runners]]\n[runners.autoscaler]\n[runners.autoscaler.plugin_config.network]\n"+example), "")
		require.NoError(t, err, example)
	}
	require.GreaterOrEqual(t, examples, 5)
}

// TestReferenceListsWhatIsPrivate leaves out what translators would be asked,
// which the page says in words.
func TestReferenceListsWhatIsPrivate(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/configuration.md")
	require.NoError(t, err)
	translator := prefix("64:ff9b::/96")
	for _, d := range network.DefaultDeny() {
		if d.Prefix.IsValid() && !d.Prefix.Overlaps(translator) {
			text := strings.Replace(d.Prefix.String(), "::ffff:0.0.0.0/", "::ffff:0:0/", 1)
			assert.Contains(t, string(page), text)
		}
	}
}
