//go:build linux

package firewall

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRangesNeitherOverlapNorTouch(t *testing.T) {
	for name, test := range map[string]struct{ prefixes, want []string }{
		"none":      {nil, nil},
		"contained": {[]string{"10.1.0.0/16", "10.0.0.0/8"}, []string{"10.0.0.0-11.0.0.0"}},
		"adjacent":  {[]string{"10.1.0.0/16", "10.0.0.0/16"}, []string{"10.0.0.0-10.2.0.0"}},
		"apart":     {[]string{"10.0.0.0/16", "10.2.0.0/16"}, []string{"10.0.0.0-10.1.0.0", "10.2.0.0-10.3.0.0"}},
		"unmasked":  {[]string{"10.0.0.7/24"}, []string{"10.0.0.0-10.0.1.0"}},
		"to the end": {
			[]string{"224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32"},
			[]string{"224.0.0.0-invalid IP"},
		},
		"everything":      {[]string{"0.0.0.0/0", "10.0.0.0/8"}, []string{"0.0.0.0-invalid IP"}},
		"IPv6":            {[]string{"fd00::/8", "fe00::/9"}, []string{"fd00::-fe80::"}},
		"IPv6 to the end": {[]string{"ff00::/8"}, []string{"ff00::-invalid IP"}},
	} {
		t.Run(name, func(t *testing.T) {
			var prefixes []netip.Prefix
			for _, text := range test.prefixes {
				prefixes = append(prefixes, netip.MustParsePrefix(text))
			}
			var got []string
			for _, span := range ranges(prefixes) {
				got = append(got, span.first.String()+"-"+span.last.Next().String())
			}
			require.Equal(t, test.want, got)
		})
	}
}
