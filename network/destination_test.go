package network

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

func TestParseDestinations(t *testing.T) {
	for text, want := range map[string]Destination{
		"10.0.0.0/8":                       {Prefix: prefix("10.0.0.0/8")},
		"1.2.3.4/32":                       {Prefix: prefix("1.2.3.4/32")},
		"0.0.0.0/0":                        {Prefix: prefix("0.0.0.0/0")},
		"fd00::/8":                         {Prefix: prefix("fd00::/8")},
		"2001:DB8::1/128":                  {Prefix: prefix("2001:db8::1/128")},
		"tcp/25":                           {Ports: Ports{TCP, 25, 25}},
		"tcp/1-65535":                      {Ports: Ports{TCP, 1, 65535}},
		"udp/5000-5999":                    {Ports: Ports{UDP, 5000, 5999}},
		"10.1.0.0/16 tcp/443":              {prefix("10.1.0.0/16"), Ports{TCP, 443, 443}},
		" 2001:db8::/32 \t udp/7-9 ":       {prefix("2001:db8::/32"), Ports{UDP, 7, 9}},
		"169.254.169.254/32 tcp/80-80":     {prefix("169.254.169.254/32"), Ports{TCP, 80, 80}},
		"::ffff:0.0.0.0/96 tcp/00443-0443": {prefix("::ffff:0:0/96"), Ports{TCP, 443, 443}},
	} {
		got, err := ParseDestinations(text)
		require.NoError(t, err, "%q", text)
		assert.Equal(t, []Destination{want}, got, "%q", text)
	}
}

func TestParseDestinationsSaysHowToMend(t *testing.T) {
	const how = `: write a network such as "10.210.0.0/16", ports such as "tcp/443" or "udp/5000-5999", ` +
		`both such as "10.210.0.0/16 tcp/443", or one of the words "private" and "smtp"`
	const ports = ` names no ports: write for instance "tcp/443" or "udp/5000-5999", from 1 to 65535`
	for text, want := range map[string]string{
		"1.2.3.4":                `"1.2.3.4" is an address: write "1.2.3.4/32" for it alone`,
		"1.2.3.4 tcp/443":        `"1.2.3.4" is an address: write "1.2.3.4/32" for it alone`,
		"2001:db8::1":            `"2001:db8::1" is an address: write "2001:db8::1/128" for it alone`,
		"fe80::1%eth0":           `"fe80::1%eth0" is an address: write "fe80::1/128" for it alone`,
		"10.1.2.3/8":             `"10.1.2.3/8" has bits set after its prefix: write "10.0.0.0/8"`,
		"fd00::1/8 udp/53":       `"fd00::1/8" has bits set after its prefix: write "fd00::/8"`,
		"":                       `"" is not a valid destination` + how,
		" \t":                    `" \t" is not a valid destination` + how,
		"10.0.0.0/8 fd00::/8":    `"10.0.0.0/8 fd00::/8" is not a valid destination` + how,
		"tcp/443 10.0.0.0/8":     `"tcp/443 10.0.0.0/8" is not a valid destination` + how,
		"10.0.0.0/8 a tcp/443":   `"10.0.0.0/8 a tcp/443" is not a valid destination` + how,
		"10.0.0.0/33":            `"10.0.0.0/33" is not a valid network` + how,
		"10.0.0.1-10.0.0.9":      `"10.0.0.1-10.0.0.9" is not a valid network` + how,
		"10.0.0.0/8,tcp/443":     `"10.0.0.0/8,tcp/443" is not a valid network` + how,
		"tcp/25 tcp/26":          `"tcp/25" is not a valid network` + how,
		"icmp/8":                 `"icmp/8" is not a valid network` + how,
		"443":                    `"443" is not a valid network` + how,
		"Private":                `"Private" is not a valid network` + how,
		"private tcp/443":        `"private" stands alone: write it without ports, or a network with them`,
		"gitlab.example.com":     `"gitlab.example.com" is a name: write it into domains, or the networks of its addresses here`,
		"*.example.com tcp/443":  `"*.example.com" is a name: write it into domains, or the networks of its addresses here`,
		"tcp":                    `"tcp"` + ports,
		"tcp/":                   `"tcp/"` + ports,
		"tcp/0":                  `"tcp/0"` + ports,
		"tcp/0-10":               `"tcp/0-10"` + ports,
		"tcp/65536":              `"tcp/65536"` + ports,
		"tcp/1-65536":            `"tcp/1-65536"` + ports,
		"udp/9-8":                `"udp/9-8"` + ports,
		"udp/-1":                 `"udp/-1"` + ports,
		"udp/1-":                 `"udp/1-"` + ports,
		"tcp/http":               `"tcp/http"` + ports,
		"tcp/80,443":             `"tcp/80,443"` + ports,
		"10.0.0.0/8 tcp/1-2-3":   `"tcp/1-2-3"` + ports,
		"10.0.0.0/8\ntcp/\x00":   `"tcp/\x00"` + ports,
		"fe80::1%eth0/10":        `"fe80::1%eth0/10" is not a valid network` + how,
		"registry.lan:5000/team": `"registry.lan:5000/team" is not a valid network` + how,
	} {
		got, err := ParseDestinations(text)
		require.EqualError(t, err, want, "%q", text)
		assert.Empty(t, got, "%q", text)
	}
}

func TestWords(t *testing.T) {
	smtp, err := ParseDestinations("smtp")
	require.NoError(t, err)
	assert.Equal(t, []Destination{{Ports: Ports{TCP, 25, 25}}}, smtp)

	private, err := ParseDestinations(" private ")
	require.NoError(t, err)
	assert.Equal(t, append(private, smtp...), DefaultDeny())
}

// TestDefaultDeny has what a job must never reach unless somebody says so, and
// what every job needs.
func TestDefaultDeny(t *testing.T) {
	denied := func(address string) bool {
		for _, d := range DefaultDeny() {
			if d.Prefix.IsValid() && d.Prefix.Contains(netip.MustParseAddr(address)) {
				return true
			}
		}
		return false
	}
	for _, address := range []string{
		"0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.53", "168.63.129.16", "169.254.169.254", "169.254.170.2", "172.16.0.1",
		"172.31.255.255", "192.168.1.1", "224.0.0.251", "255.255.255.255",
		"::", "::1", "fd00:ec2::254", "fe80::1", "ff02::1", "fec0::1", "64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1",
		"64:ff9b::169.254.169.254", "64:ff9b::172.31.0.1", "64:ff9b::192.168.0.1", "64:ff9b::100.127.0.1", "fd20:ce::254",
	} {
		assert.True(t, denied(address), address)
	}
	for _, address := range []string{
		"1.1.1.1", "9.9.9.9", "100.128.0.1", "168.63.129.17", "172.32.0.1", "192.169.0.1", "2606:4700::1111", "2001:db8::1",
		"64:ff9b::1.1.1.1", "64:ff9b::172.32.0.1", "64:ff9b::100.128.0.1",
	} {
		assert.False(t, denied(address), address)
	}
}

func TestParsePrefix(t *testing.T) {
	for _, text := range []string{"10.0.0.0/8", "0.0.0.0/0", "1.2.3.4/32", "fd00::/8", "::/0", "2001:db8::1/128"} {
		got, err := ParsePrefix(text)
		require.NoError(t, err)
		assert.Equal(t, netip.MustParsePrefix(text), got)
	}
	for text, want := range map[string]string{
		"":            `"" is not a valid network in CIDR notation: write for instance "10.210.0.0/16"`,
		"10.0.0.0":    `"10.0.0.0" is not a valid network in CIDR notation: write for instance "10.210.0.0/16"`,
		"10.0.0/8":    `"10.0.0/8" is not a valid network in CIDR notation: write for instance "10.210.0.0/16"`,
		"10.0.0.0/08": `"10.0.0.0/08" is not a valid network in CIDR notation: write for instance "10.210.0.0/16"`,
		"10.1.2.3/8":  `"10.1.2.3/8" has bits set after its prefix: write "10.0.0.0/8"`,
		"fd00::1/64":  `"fd00::1/64" has bits set after its prefix: write "fd00::/64"`,
	} {
		_, err := ParsePrefix(text)
		require.EqualError(t, err, want, "%q", text)
	}
}

// someDestination is any that ParseDestinations can give.
func someDestination() *rapid.Generator[Destination] {
	return rapid.Custom(func(t *rapid.T) Destination {
		var d Destination
		shape := rapid.SampledFrom([]string{"network", "ports", "both"}).Draw(t, "shape")
		if shape != "ports" {
			length := rapid.SampledFrom([]int{4, 16}).Draw(t, "length")
			address, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), length, length).Draw(t, "address"))
			d.Prefix = netip.PrefixFrom(address, rapid.IntRange(0, address.BitLen()).Draw(t, "bits")).Masked()
		}
		if shape != "network" {
			first := rapid.Uint16Range(1, 65535).Draw(t, "first")
			d.Ports = Ports{rapid.SampledFrom([]byte{TCP, UDP}).Draw(t, "protocol"), first, rapid.Uint16Range(first, 65535).Draw(t, "last")}
		}
		return d
	})
}

func TestDestinationsAreWrittenAsTheyAreRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := someDestination().Draw(t, "destination")
		got, err := ParseDestinations(want.String())
		require.NoError(t, err)
		require.Equal(t, []Destination{want}, got)
	})
}

// TestListsAreWrittenAsTheyAreRead mixes words, and parts of what they stand
// for, with others.
func TestListsAreWrittenAsTheyAreRead(t *testing.T) {
	private := meaning("private")
	rapid.Check(t, func(t *rapid.T) {
		var want []Destination
		for _, list := range rapid.SliceOfN(rapid.SampledFrom([][]Destination{
			private, private[:len(private)-1], private[1:], meaning("smtp"), {someDestination().Draw(t, "destination")},
		}), 0, 5).Draw(t, "lists") {
			want = append(want, list...)
		}
		var got []Destination
		for _, text := range FormatDestinations(want) {
			list, err := ParseDestinations(text)
			require.NoError(t, err)
			got = append(got, list...)
		}
		require.Equal(t, want, got)
	})
}

func TestFormatDestinationsFindsTheWord(t *testing.T) {
	assert.Equal(t, []string{"private", "tcp/25"}, FormatDestinations(DefaultDeny()))
	assert.Equal(t, []string{"tcp/25", "private"}, FormatDestinations(append(meaning("smtp"), meaning("private")...)))
	assert.Equal(t, []string{}, FormatDestinations(nil))
	assert.Len(t, FormatDestinations(meaning("private")[1:]), len(meaning("private"))-1)
}

func FuzzParseDestinations(f *testing.F) {
	for _, text := range []string{
		"", "private", "smtp", "10.0.0.0/8", "fd00::/8 udp/5000-5999", "tcp/25", "1.2.3.4", "::ffff:1.2.3.4/128 tcp/1",
		"fe80::1%eth0", "tcp/0-0", "a.b\n", "10.0.0.0/8 tcp/443 x", "\xff/\x00",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseDestinations(text)
		if err != nil {
			require.Empty(t, list)
			require.NotContains(t, err.Error(), "\n")
			return
		}
		require.NotEmpty(t, list)
		for _, want := range list {
			require.NotEqual(t, Destination{}, want)
			got, err := ParseDestinations(want.String())
			require.NoError(t, err)
			require.Equal(t, []Destination{want}, got)
		}
	})
}
