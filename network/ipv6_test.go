package network

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseIPv6(t *testing.T) {
	for text, want := range map[string]IPv6{
		"off":                    {},
		"nat":                    {On: true},
		"2001:db8:1:2::/64":      {On: true, Prefix: prefix("2001:db8:1:2::/64")},
		"2001:db8:1:2::5:0:0/96": {On: true, Prefix: prefix("2001:db8:1:2:0:5::/96")},
		"2000::/3":               {On: true, Prefix: prefix("2000::/3")},
		"fd12:3456:789a::/48":    {On: true, Prefix: prefix("fd12:3456:789a::/48")},
	} {
		got, err := ParseIPv6(text)
		require.NoError(t, err, "%q", text)
		assert.Equal(t, want, got, "%q", text)
	}
}

func TestParseIPv6SaysHowToMend(t *testing.T) {
	const routed = `write for instance "2001:db8:1:2::/64" if that is routed to this host`
	const never = ` is never routed to a host: write a part of 2000::/3 or fc00::/7, or "nat"`
	for text, want := range map[string]string{
		"":                         `"" is neither "off", "nat" nor a network: ` + routed,
		"on":                       `"on" is neither "off", "nat" nor a network: ` + routed,
		"NAT":                      `"NAT" is neither "off", "nat" nor a network: ` + routed,
		"2001:db8::1":              `"2001:db8::1" is neither "off", "nat" nor a network: ` + routed,
		"2001:db8::/129":           `"2001:db8::/129" is neither "off", "nat" nor a network: ` + routed,
		"10.0.0.0/8":               `"10.0.0.0/8" is not IPv6: write "nat", or for ` + routed[len("write for "):],
		"::ffff:10.0.0.0/104":      `"::ffff:10.0.0.0/104" is not IPv6: write "nat", or for ` + routed[len("write for "):],
		"2001:db8::1/64":           `"2001:db8::1/64" has bits set after its prefix: write "2001:db8::/64"`,
		"2001:db8::/97":            `2001:db8::/97 is too small for the workers' addresses: write a prefix of /96 or shorter`,
		"::/0":                     `::/0` + never,
		"2000::/2":                 `"2000::/2" has bits set after its prefix: write "::/2"`,
		"fc00::/6":                 `fc00::/6` + never,
		"fe80::/64":                `fe80::/64` + never,
		"ff00::/8":                 `ff00::/8` + never,
		"64:ff9b::/96":             `64:ff9b::/96` + never,
		"fd00::/8":                 `fd00::/8 overlaps fd6d:6179:666c:7900::/64, which every worker has inside: choose another`,
		"fd6d:6179:666c:7900::/96": `fd6d:6179:666c:7900::/96 overlaps fd6d:6179:666c:7900::/64, which every worker has inside: choose another`,
	} {
		got, err := ParseIPv6(text)
		require.EqualError(t, err, want, "%q", text)
		assert.Equal(t, IPv6{}, got, "%q", text)
	}
}

func TestIPv6IsWrittenAsItIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.OneOf(
			rapid.SampledFrom([]IPv6{{}, {On: true}}),
			rapid.Custom(func(t *rapid.T) IPv6 {
				bytes := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")
				bytes[0] = 0x20 | bytes[0]&0x1f
				address, _ := netip.AddrFromSlice(bytes)
				return IPv6{On: true, Prefix: netip.PrefixFrom(address, rapid.IntRange(3, 96).Draw(t, "bits")).Masked()}
			}),
		).Draw(t, "ipv6")
		got, err := ParseIPv6(want.String())
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}
