package nameserver

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// A real client is satisfied: Go's own, by UDP, and by TCP when the answer is
// too long.
func TestGoResolver(t *testing.T) {
	records := map[string][]string{
		"gitlab.com. TypeA":        {"gitlab.com. 60s A 192.0.2.1"},
		"gitlab.com. TypeAAAA":     {"gitlab.com. 60s AAAA 2001:db8::1"},
		"www.gitlab.com. TypeA":    {"www.gitlab.com. 60s CNAME cdn.test.", "cdn.test. 60s A 192.0.2.2"},
		"www.gitlab.com. TypeAAAA": {"www.gitlab.com. 60s CNAME cdn.test."},
		"long.gitlab.com. TypeTXT": nil,
	}
	for i := range 100 {
		records["long.gitlab.com. TypeTXT"] = append(records["long.gitlab.com. TypeTXT"],
			fmt.Sprintf("long.gitlab.com. 60s TXT %d-%s", i, strings.Repeat("x", 50)))
	}
	upstream := newUpstream(t, func(network string, asked dnsmessage.Message) [][]byte {
		answer := answerTo(t, asked, records[asked.Questions[0].Name.String()+" "+asked.Questions[0].Type.String()]...)
		if network == "udp" && len(answer.Answers) > 10 {
			answer.Answers, answer.Truncated = nil, true
		}
		return [][]byte{pack(t, answer)}
	})
	var class class
	r := newRelay(t, Options{
		Names: mustParseNames(t, "gitlab.com", "*.gitlab.com"), Resolvers: asking(upstream.address), Learn: class.learn,
	})
	client := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, network, r.address)
	}}

	for name, want := range map[string][]string{
		"gitlab.com.":     {"192.0.2.1", "2001:db8::1"},
		"www.gitlab.com.": {"192.0.2.2"},
	} {
		found, err := client.LookupNetIP(t.Context(), "ip", name)
		require.NoError(t, err)
		var texts []string
		for _, addr := range found {
			texts = append(texts, addr.String())
			require.Contains(t, class.addresses(), addr)
		}
		require.ElementsMatch(t, want, texts)
	}
	texts, err := client.LookupTXT(t.Context(), "long.gitlab.com.")
	require.NoError(t, err)
	require.Len(t, texts, 100)
	require.Contains(t, upstream.asked(), "tcp long.gitlab.com. TypeTXT")

	_, err = client.LookupHost(t.Context(), "evil.test.")
	var failure *net.DNSError
	require.ErrorAs(t, err, &failure)
	require.True(t, failure.IsNotFound, "at once, and for good")
	for _, question := range upstream.asked() {
		require.Contains(t, question, "gitlab.com.")
	}
}

func (c *class) addresses() []netip.Addr {
	var found []netip.Addr
	for _, l := range c.learnt() {
		found = append(found, l.Addr)
	}
	return found
}
