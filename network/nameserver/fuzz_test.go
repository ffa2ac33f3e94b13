package nameserver

import (
	"bytes"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// FuzzQuestion sends what a guest may send through all that handles it.
func FuzzQuestion(f *testing.F) {
	for _, name := range []string{"gitlab.com.", "www.gitlab.com.", "evil.test.", "."} {
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, typeHTTPS, typeANY} {
			f.Add(query(f, name, kind))
		}
	}
	f.Add(query(f, "gitlab.com.", dnsmessage.TypeA)[:20])
	f.Add(pointing(0))
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 600))
	names := mustParseNames(f, "gitlab.com", "*.gitlab.com")
	server := newRelay(f, Options{Names: names, Resolvers: asking(), Log: slog.New(slog.DiscardHandler)})
	f.Fuzz(func(t *testing.T, msg []byte) {
		v := decide(names, msg)
		answer := server.respond(bytes.Clone(msg))
		if v.do == ignore {
			require.Nil(t, answer)
			return
		}
		require.Equal(t, msg[:2], answer[:2])
		got := unpack(t, answer)
		require.True(t, got.Response)
		require.Empty(t, got.Answers)
		if v.do == forward {
			requireListed(t, names, msg)
			require.Equal(t, dnsmessage.RCodeServerFailure, got.RCode)
		}
	})
}

// requireListed reads the name of the question without dnsmessage.
func requireListed(t *testing.T, names Names, msg []byte) {
	var name []byte
	rest := msg[headerSize:]
	for rest[0] != 0 {
		name = append(append(name, rest[1:1+rest[0]]...), '.')
		rest = rest[1+rest[0]:]
	}
	require.True(t, names.allows(string(name)), "%q was to be asked", name)
}

// FuzzAnswer reads what the world may answer.
func FuzzAnswer(f *testing.F) {
	asked := queryMessage("gitlab.com.", dnsmessage.TypeA)
	whole := pack(f, answerTo(f, asked, "gitlab.com. 60s CNAME a.test.", "a.test. 60s A 192.0.2.1", "a.test. 60s AAAA 2001:db8::1"))
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(pack(f, answerTo(f, asked, "gitlab.com. 1s CNAME gitlab.com.")))
	f.Add([]byte{})
	q := decide(Names{}, pack(f, asked)).question
	f.Fuzz(func(t *testing.T, msg []byte) {
		if !q.belongs(asked.ID, msg) {
			return
		}
		failed(msg)
		found, err := learnt(msg)
		if err != nil {
			require.Empty(t, found)
		}
		seen := map[netip.Addr]bool{}
		for _, l := range found {
			require.False(t, seen[l.Addr], "twice")
			seen[l.Addr] = true
			require.True(t, l.Addr.IsValid() && !l.Addr.Is4In6())
			require.True(t, l.TTL >= 0 && l.TTL < (1<<31)*time.Second)
		}
	})
}
