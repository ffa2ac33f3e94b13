package guest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHostsFileAddsWhatIsMissing(t *testing.T) {
	const ourOwn = "127.0.0.1 localhost # mayfly\n127.0.1.1 one # mayfly\n" +
		"::1 localhost ip6-localhost ip6-loopback # mayfly\n"
	for name, test := range map[string]struct{ now, want string }{
		"no file":         {"", ourOwn},
		"an older name":   {"127.0.1.1 other # mayfly\n", ourOwn},
		"the image's own": {"192.0.2.7 registry # of the team\n", ourOwn + "192.0.2.7 registry # of the team\n"},
		"without its end": {"192.0.2.7 registry", ourOwn + "192.0.2.7 registry\n"},
		"in a comment":    {"# 127.0.0.1 localhost\n", ourOwn + "# 127.0.0.1 localhost\n"},
		"another address": {"192.0.2.7 localhost\n", ourOwn + "192.0.2.7 localhost\n"},
		"a distribution's": {"127.0.0.1\tlocalhost localhost4\n127.0.1.1 debian\n" +
			"::1 localhost ip6-localhost\nff02::1 ip6-allnodes\n",
			"127.0.1.1 one # mayfly\n::1 ip6-loopback # mayfly\n" +
				"127.0.0.1\tlocalhost localhost4\n127.0.1.1 debian\n" +
				"::1 localhost ip6-localhost\nff02::1 ip6-allnodes\n"},
	} {
		t.Run(name, func(t *testing.T) {
			written := HostsFile(test.now, "one")
			require.Equal(t, test.want, written)
			require.Equal(t, written, HostsFile(written, "one"), "writing it again changes nothing")
		})
	}
}
