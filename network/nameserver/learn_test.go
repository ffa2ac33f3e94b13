package nameserver

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// a record in short: "owner seconds type value", in class IN but for "CH".
func record(t testing.TB, text string) dnsmessage.Resource {
	t.Helper()
	var ttl time.Duration
	fields := strings.Fields(text)
	require.Len(t, fields, 4)
	ttl, err := time.ParseDuration(fields[1])
	require.NoError(t, err)
	header := dnsmessage.ResourceHeader{
		Name: dnsmessage.MustNewName(fields[0]), Class: dnsmessage.ClassINET, TTL: uint32(ttl / time.Second),
	}
	switch fields[2] {
	case "CH":
		header.Class = dnsmessage.ClassCHAOS
		return dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: netip.MustParseAddr(fields[3]).As4()}}
	case "A":
		return dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: netip.MustParseAddr(fields[3]).As4()}}
	case "AAAA":
		return dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(fields[3]).As16()}}
	case "CNAME":
		return dnsmessage.Resource{Header: header, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(fields[3])}}
	case "TXT":
		return dnsmessage.Resource{Header: header, Body: &dnsmessage.TXTResource{TXT: []string{fields[3]}}}
	}
	require.Fail(t, "no such type", text)
	return dnsmessage.Resource{}
}

// answerTo returns the answer with these records.
func answerTo(t testing.TB, asked dnsmessage.Message, lines ...string) dnsmessage.Message {
	t.Helper()
	asked.Response, asked.RecursionAvailable = true, true
	for _, line := range lines {
		asked.Answers = append(asked.Answers, record(t, line))
	}
	return asked
}

func address(text string, ttl time.Duration) Learnt {
	return Learnt{Addr: netip.MustParseAddr(text), TTL: ttl}
}

func TestLearnt(t *testing.T) {
	for name, test := range map[string]struct {
		answers []string
		want    []Learnt
	}{
		"nothing":                       {nil, nil},
		"IPv4":                          {[]string{"gitlab.com. 60s A 192.0.2.1"}, []Learnt{address("192.0.2.1", time.Minute)}},
		"IPv6":                          {[]string{"gitlab.com. 0s AAAA 2001:db8::1"}, []Learnt{address("2001:db8::1", 0)}},
		"several":                       {[]string{"gitlab.com. 1s A 192.0.2.2", "gitlab.com. 2s A 192.0.2.1"}, []Learnt{address("192.0.2.2", time.Second), address("192.0.2.1", 2*time.Second)}},
		"capitals":                      {[]string{"GitLab.COM. 1s CNAME A.test.", "a.TEST. 1s A 192.0.2.1"}, []Learnt{address("192.0.2.1", time.Second)}},
		"the same":                      {[]string{"gitlab.com. 1s A 192.0.2.1", "gitlab.com. 3s A 192.0.2.1", "gitlab.com. 2s A 192.0.2.1"}, []Learnt{address("192.0.2.1", 3*time.Second)}},
		"aliases":                       {[]string{"gitlab.com. 1s CNAME b.test.", "b.test. 1s CNAME c.test.", "c.test. 1s A 192.0.2.1"}, []Learnt{address("192.0.2.1", time.Second)}},
		"unordered":                     {[]string{"c.test. 1s A 192.0.2.1", "b.test. 1s CNAME c.test.", "gitlab.com. 1s CNAME b.test."}, []Learnt{address("192.0.2.1", time.Second)}},
		"a ring":                        {[]string{"gitlab.com. 1s CNAME b.test.", "b.test. 1s CNAME gitlab.com.", "b.test. 1s A 192.0.2.1"}, []Learnt{address("192.0.2.1", time.Second)}},
		"two aliases, the first counts": {[]string{"gitlab.com. 1s CNAME b.test.", "gitlab.com. 1s CNAME c.test.", "c.test. 1s A 192.0.2.1"}, nil},
		"foreign":                       {[]string{"evil.test. 1s A 192.0.2.1", "www.gitlab.com. 1s A 192.0.2.2", "com. 1s A 192.0.2.3"}, nil},
		"alias of a foreign name":       {[]string{"evil.test. 1s CNAME gitlab.com.", "evil.test. 1s A 192.0.2.1"}, nil},
		"foreign alias":                 {[]string{"a.test. 1s CNAME b.test.", "b.test. 1s A 192.0.2.1"}, nil},
		"other types":                   {[]string{"gitlab.com. 1s TXT 192.0.2.1"}, nil},
		"other class":                   {[]string{"gitlab.com. 1s CH 192.0.2.1"}, nil},
		"IPv4 in IPv6":                  {[]string{"gitlab.com. 1s AAAA ::ffff:192.0.2.1"}, nil},
		"longest":                       {[]string{"gitlab.com. 2147483647s A 192.0.2.1"}, []Learnt{address("192.0.2.1", (1<<31-1)*time.Second)}},
		"longer than there can be":      {[]string{"gitlab.com. 2147483648s A 192.0.2.1"}, []Learnt{address("192.0.2.1", 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := learnt(pack(t, answerTo(t, queryMessage("gitlab.com.", dnsmessage.TypeA), test.answers...)))
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

func TestLearntOnlyFromTheAnswerSection(t *testing.T) {
	message := answerTo(t, queryMessage("gitlab.com.", dnsmessage.TypeA))
	message.Authorities = []dnsmessage.Resource{record(t, "gitlab.com. 1s A 192.0.2.1")}
	message.Additionals = append(message.Additionals, record(t, "gitlab.com. 1s A 192.0.2.2"))
	got, err := learnt(pack(t, message))
	require.NoError(t, err)
	require.Empty(t, got)
}

// An address record of another length than an address has is none, whatever
// follows it.
func TestLearntWantsWholeAddresses(t *testing.T) {
	message := answerTo(t, queryMessage("gitlab.com.", dnsmessage.TypeA), "gitlab.com. 1s A 192.0.2.1", "gitlab.com. 1s AAAA 2001:db8::1")
	for i, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		message.Answers[i].Body = &dnsmessage.UnknownResource{Type: kind, Data: []byte{192, 0}}
	}
	got, err := learnt(pack(t, message))
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestLearntFailsWhenTheAnswerDoes(t *testing.T) {
	message := answerTo(t, queryMessage("gitlab.com.", dnsmessage.TypeA), "gitlab.com. 1s A 192.0.2.1")
	message.Additionals = nil
	msg := pack(t, message)
	for length := range len(msg) {
		_, err := learnt(msg[:length])
		require.Error(t, err, "%d bytes", length)
	}
}
