package nameserver

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

var bothNetworks = []string{"udp", "tcp"}

func TestAllowedNamesAreAnswered(t *testing.T) {
	for _, network := range bothNetworks {
		t.Run(network, func(t *testing.T) {
			resolver := saying(t, "www.gitlab.com. 30s CNAME cdn.test.", "cdn.test. 20s A 192.0.2.1", "evil.test. 10s A 203.0.113.6")
			var class class
			r := newRelay(t, Options{
				Names: mustParseNames(t, "gitlab.com", "*.gitlab.com"), Resolvers: asking(resolver.address), Learn: class.learn,
			})

			got := ask(t, network, r.address, query(t, "www.GitLab.com.", dnsmessage.TypeA))
			require.Equal(t, []string{"192.0.2.1", "203.0.113.6"}, addresses(got))
			require.Equal(t, []Learnt{address("192.0.2.1", 20*time.Second)}, class.learnt())
			require.Equal(t, []string{network + " www.GitLab.com. TypeA"}, resolver.asked())
		})
	}
}

func TestOtherNamesAreRefused(t *testing.T) {
	for _, network := range bothNetworks {
		t.Run(network, func(t *testing.T) {
			resolver := saying(t)
			refused := make(chan string, 10)
			r := newRelay(t, Options{
				Names: mustParseNames(t, "gitlab.com"), Resolvers: asking(resolver.address),
				Refused: func(name string) { refused <- name },
			})

			for _, name := range []string{"evil.test.", "EVIL.test.", "www.gitlab.com.", "\x1b[31m\u212a\n.test.", "."} {
				require.Equal(t, dnsmessage.RCodeNameError, ask(t, network, r.address, query(t, name, dnsmessage.TypeA)).RCode)
			}
			require.Equal(t, dnsmessage.RCodeRefused, ask(t, network, r.address, query(t, "gitlab.com.", typeANY)).RCode)
			require.Equal(t, dnsmessage.RCodeSuccess, ask(t, network, r.address, query(t, "gitlab.com.", typeHTTPS)).RCode)
			require.NoError(t, r.Close())
			close(refused)
			var names []string
			for name := range refused {
				names = append(names, name)
			}
			require.Equal(t, []string{"evil.test", "www.gitlab.com", `\x1b[31m\u212a\n.test`, "."}, names)
			require.Empty(t, resolver.asked())
		})
	}
}

func TestMalformedQuestionsAreAnsweredSo(t *testing.T) {
	for _, network := range bothNetworks {
		t.Run(network, func(t *testing.T) {
			resolver := saying(t)
			r := newRelay(t, Options{Resolvers: asking(resolver.address)})
			whole := query(t, "gitlab.com.", dnsmessage.TypeA)
			require.Equal(t, dnsmessage.RCodeFormatError, ask(t, network, r.address, whole[:20]).RCode)
			require.Empty(t, resolver.asked())
		})
	}
}

// What is no question at all has no answer: by UDP the next one is still
// answered, by TCP the connection ends.
func TestRubbishIsNotAnswered(t *testing.T) {
	resolver := saying(t, "gitlab.com. 1s A 192.0.2.1")
	r := newRelay(t, Options{Resolvers: asking(resolver.address)})

	udp := dial(t, "udp", r.address)
	for _, rubbish := range [][]byte{{}, {1}, make([]byte, 11), make([]byte, maxUDP+1), pack(t, dnsmessage.Message{Header: dnsmessage.Header{Response: true}})} {
		_, err := udp.Write(rubbish)
		require.NoError(t, err)
	}
	_, err := udp.Write(query(t, "gitlab.com.", dnsmessage.TypeA))
	require.NoError(t, err)
	answer, err := transports["udp"].read(udp)
	require.NoError(t, err)
	require.Equal(t, []string{"192.0.2.1"}, addresses(unpack(t, answer)))

	tcp := dial(t, "tcp", r.address)
	require.NoError(t, writeMessage(tcp, nil))
	_, err = readMessage(tcp)
	require.ErrorIs(t, err, io.EOF)
}

// A question and its answer are passed on byte by byte, but for the id.
func TestMessagesStayAsTheyAre(t *testing.T) {
	sent := queryMessage("gitlab.com.", dnsmessage.TypeA)
	sent.CheckingDisabled = true
	sent.Additionals[0].Body = &dnsmessage.OPTResource{Options: []dnsmessage.Option{{Code: 10, Data: []byte("a cookie")}}}
	asked := make(chan dnsmessage.Message, 1)
	resolver := newUpstream(t, func(_ string, message dnsmessage.Message) [][]byte {
		asked <- message
		answer := answerTo(t, message, "gitlab.com. 1s A 192.0.2.1")
		answer.AuthenticData = true
		return [][]byte{pack(t, answer)}
	})
	r := newRelay(t, Options{Resolvers: asking(resolver.address)})

	got := ask(t, "udp", r.address, pack(t, sent))
	there := <-asked
	there.ID = sent.ID
	require.Equal(t, pack(t, sent), pack(t, there))
	require.True(t, got.AuthenticData)
	require.Equal(t, sent.Additionals, got.Additionals)
}

func TestEveryQuestionHasAnIDOfItsOwn(t *testing.T) {
	ids := make(chan uint16, 8)
	resolver := newUpstream(t, func(_ string, message dnsmessage.Message) [][]byte {
		ids <- message.ID
		return [][]byte{pack(t, answerTo(t, message))}
	})
	r := newRelay(t, Options{Resolvers: asking(resolver.address)})
	different := map[uint16]bool{}
	for range cap(ids) {
		ask(t, "udp", r.address, query(t, "gitlab.com.", dnsmessage.TypeA))
		different[<-ids] = true
	}
	// Eight random ids are all the same once in 2^112 runs.
	require.Greater(t, len(different), 1)
}

// diary is a UDP socket that writes down when an answer is sent.
type diary struct {
	*net.UDPConn
	note func(string)
}

func (d diary) WriteTo(msg []byte, to net.Addr) (int, error) {
	d.note("answered")
	return d.UDPConn.WriteTo(msg, to)
}

func TestLearnsBeforeItAnswers(t *testing.T) {
	resolver := saying(t, "gitlab.com. 1s A 192.0.2.1")
	var mutex sync.Mutex
	var order []string
	note := func(what string) {
		mutex.Lock()
		defer mutex.Unlock()
		order = append(order, what)
	}
	udp, tcp := sockets(t)
	server := serve(diary{UDPConn: udp, note: note}, tcp, Options{
		Resolvers: asking(resolver.address),
		Learn: func(context.Context, []Learnt) error {
			note("learnt")
			return nil
		},
	}, patient)
	ask(t, "udp", udp.LocalAddr().String(), query(t, "gitlab.com.", dnsmessage.TypeA))
	require.NoError(t, server.Close())
	require.Equal(t, []string{"learnt", "answered"}, order)
}

func TestNothingIsAnsweredThatWasNotLearnt(t *testing.T) {
	for _, network := range bothNetworks {
		t.Run(network, func(t *testing.T) {
			resolver := saying(t, "gitlab.com. 1s A 192.0.2.1")
			var log strings.Builder
			r := newRelay(t, Options{
				Resolvers: asking(resolver.address), Log: slog.New(slog.NewTextHandler(&log, nil)),
				Learn: func(context.Context, []Learnt) error { return errors.New("the set is full") },
			})
			got := ask(t, network, r.address, query(t, "gitlab.com.", dnsmessage.TypeA))
			require.Equal(t, dnsmessage.RCodeServerFailure, got.RCode)
			require.Empty(t, got.Answers)
			require.NoError(t, r.Close())
			require.Contains(t, log.String(), "the set is full")
		})
	}
}

func TestAnswerThatCannotBeReadIsAFailure(t *testing.T) {
	resolver := newUpstream(t, func(_ string, asked dnsmessage.Message) [][]byte {
		asked.Additionals = nil
		answer := pack(t, answerTo(t, asked, "gitlab.com. 1s A 192.0.2.1"))
		return [][]byte{answer[:len(answer)-1]}
	})
	var class class
	r := newRelay(t, Options{Resolvers: asking(resolver.address), Learn: class.learn})
	require.Equal(t, dnsmessage.RCodeServerFailure, ask(t, "udp", r.address, query(t, "gitlab.com.", dnsmessage.TypeA)).RCode)
	require.Empty(t, class.learnt())
}

func TestAnswerWithoutAddressesIsNotLearnt(t *testing.T) {
	resolver := saying(t, "gitlab.com. 1s TXT text")
	r := newRelay(t, Options{
		Resolvers: asking(resolver.address),
		Learn:     func(context.Context, []Learnt) error { return errors.New("there is nothing to learn") },
	})
	require.Len(t, ask(t, "udp", r.address, query(t, "gitlab.com.", dnsmessage.TypeTXT)).Answers, 1)
}

// The context of Learn ends, so that one that hangs keeps no place for ever.
func TestLearnMustEnd(t *testing.T) {
	resolver := saying(t, "gitlab.com. 1s A 192.0.2.1")
	b := patient
	b.question = 50 * time.Millisecond
	r := newBoundRelay(t, Options{
		Resolvers: asking(resolver.address),
		Learn: func(ctx context.Context, _ []Learnt) error {
			<-ctx.Done()
			return ctx.Err()
		},
	}, b)
	require.Equal(t, dnsmessage.RCodeServerFailure, ask(t, "udp", r.address, query(t, "gitlab.com.", dnsmessage.TypeA)).RCode)
}

func TestTruncatedAnswerIsAskedForByTCP(t *testing.T) {
	resolver := newUpstream(t, func(network string, asked dnsmessage.Message) [][]byte {
		if network == "tcp" {
			return [][]byte{pack(t, answerTo(t, asked, "gitlab.com. 1s A 192.0.2.1"))}
		}
		asked.Truncated = true
		return [][]byte{pack(t, answerTo(t, asked))}
	})
	r := newRelay(t, Options{Resolvers: asking(resolver.address)})
	msg := query(t, "gitlab.com.", dnsmessage.TypeA)
	require.True(t, ask(t, "udp", r.address, msg).Truncated)
	require.Equal(t, []string{"192.0.2.1"}, addresses(ask(t, "tcp", r.address, msg)))
	require.Equal(t, []string{"udp gitlab.com. TypeA", "tcp gitlab.com. TypeA"}, resolver.asked())
}

func TestTooLongAnswerIsTruncated(t *testing.T) {
	long := make([]string, 400)
	for i := range long {
		long[i] = "gitlab.com. 1s AAAA 2001:db8::1"
	}
	resolver := saying(t, long...)
	r := newRelay(t, Options{Resolvers: asking(resolver.address)})
	msg := query(t, "gitlab.com.", dnsmessage.TypeAAAA)
	got := ask(t, "udp", r.address, msg)
	require.True(t, got.Truncated)
	require.Empty(t, got.Answers)
	require.Len(t, ask(t, "tcp", r.address, msg).Answers, len(long))
}

func TestNextResolverIsAsked(t *testing.T) {
	b := patient
	b.resolver = time.Second // also for the one that answers, so that the guest may have to ask again
	for name, first := range map[string]func(t testing.TB) netip.AddrPort{
		"after one that is gone":       closed,
		"after one that is silent":     silent,
		"after one that fails":         func(t testing.TB) netip.AddrPort { return failing(t, dnsmessage.RCodeServerFailure).address },
		"after one that refuses":       func(t testing.TB) netip.AddrPort { return failing(t, dnsmessage.RCodeRefused).address },
		"after one that does not know": func(t testing.TB) netip.AddrPort { return failing(t, dnsmessage.RCodeNotImplemented).address },
	} {
		for _, network := range bothNetworks {
			t.Run(name+" "+network, func(t *testing.T) {
				second := saying(t, "gitlab.com. 1s A 192.0.2.1")
				r := newBoundRelay(t, Options{Resolvers: asking(first(t), second.address)}, b)
				msg := query(t, "gitlab.com.", dnsmessage.TypeA)
				got := ask(t, network, r.address, msg)
				for began := time.Now(); got.RCode == dnsmessage.RCodeServerFailure && time.Since(began) < patience; {
					got = ask(t, network, r.address, msg)
				}
				require.Equal(t, []string{"192.0.2.1"}, addresses(got))
			})
		}
	}
}

func TestNameThatIsNotIsAnAnswer(t *testing.T) {
	second := saying(t, "gitlab.com. 1s A 192.0.2.1")
	r := newRelay(t, Options{Resolvers: asking(failing(t, dnsmessage.RCodeNameError).address, second.address)})
	require.Equal(t, dnsmessage.RCodeNameError, ask(t, "udp", r.address, query(t, "gitlab.com.", dnsmessage.TypeA)).RCode)
	require.Empty(t, second.asked())
}

func TestNoResolverAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		resolvers []netip.AddrPort
		want      dnsmessage.RCode
		log       string
	}{
		"there is none":   {nil, dnsmessage.RCodeServerFailure, "no resolver to ask"},
		"all are gone":    {[]netip.AddrPort{closed(t), closed(t)}, dnsmessage.RCodeServerFailure, "connection refused"},
		"the last fails":  {[]netip.AddrPort{closed(t), failing(t, dnsmessage.RCodeNotImplemented).address}, dnsmessage.RCodeNotImplemented, ""},
		"the first fails": {[]netip.AddrPort{failing(t, dnsmessage.RCodeNotImplemented).address, closed(t)}, dnsmessage.RCodeNotImplemented, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			r := newRelay(t, Options{Resolvers: asking(test.resolvers...), Log: slog.New(slog.NewTextHandler(&log, nil))})
			for range 3 {
				require.Equal(t, test.want, ask(t, "udp", r.address, query(t, "gitlab.com.", dnsmessage.TypeA)).RCode)
			}
			require.NoError(t, r.Close())
			require.Contains(t, log.String(), test.log)
			require.LessOrEqual(t, strings.Count(log.String(), "\n"), 1, log.String())
		})
	}
}

func TestResolversAreLookedUpForEveryQuestion(t *testing.T) {
	first, second := saying(t), saying(t)
	resolvers := make(chan netip.AddrPort, 2)
	resolvers <- first.address
	resolvers <- second.address
	r := newRelay(t, Options{Resolvers: func() []netip.AddrPort { return []netip.AddrPort{<-resolvers} }})
	ask(t, "udp", r.address, query(t, "a.test.", dnsmessage.TypeA))
	ask(t, "udp", r.address, query(t, "b.test.", dnsmessage.TypeA))
	require.Equal(t, []string{"udp a.test. TypeA"}, first.asked())
	require.Equal(t, []string{"udp b.test. TypeA"}, second.asked())
}

// An answer that is not to our question may be forged.
func TestForgedAnswersAreNotBelieved(t *testing.T) {
	for _, network := range bothNetworks {
		t.Run(network, func(t *testing.T) {
			resolver := newUpstream(t, func(_ string, asked dnsmessage.Message) [][]byte {
				forged := func(change func(*dnsmessage.Message)) []byte {
					message := answerTo(t, asked, "gitlab.com. 1s A 203.0.113.6")
					message.Questions = []dnsmessage.Question{asked.Questions[0]}
					change(&message)
					return pack(t, message)
				}
				return [][]byte{
					forged(func(m *dnsmessage.Message) { m.ID++ }),
					forged(func(m *dnsmessage.Message) { m.Response = false }),
					forged(func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("gitlab.org.") }),
					forged(func(m *dnsmessage.Message) { m.Questions[0].Type = dnsmessage.TypeAAAA }),
					{}, {1, 2, 3},
					pack(t, answerTo(t, asked, "gitlab.com. 1s A 192.0.2.1")),
				}
			})
			var class class
			r := newRelay(t, Options{Resolvers: asking(resolver.address), Learn: class.learn})
			got := ask(t, network, r.address, query(t, "gitlab.com.", dnsmessage.TypeA))
			require.Equal(t, []string{"192.0.2.1"}, addresses(got))
			require.Equal(t, []Learnt{address("192.0.2.1", time.Second)}, class.learnt())
		})
	}
}

func TestSeveralQuestionsOnAConnection(t *testing.T) {
	resolver := saying(t, "gitlab.com. 1s A 192.0.2.1")
	b := patient
	b.questions = 1
	r := newBoundRelay(t, Options{Names: mustParseNames(t, "gitlab.com"), Resolvers: asking(resolver.address)}, b)
	conn := dial(t, "tcp", r.address)
	codes := []dnsmessage.RCode{dnsmessage.RCodeSuccess, dnsmessage.RCodeNameError, dnsmessage.RCodeSuccess}
	for i, name := range []string{"gitlab.com.", "evil.test.", "gitlab.com."} { // all before the first answer
		require.NoError(t, writeMessage(conn, query(t, name, dnsmessage.TypeA)), i)
	}
	for _, code := range codes {
		answer, err := readMessage(conn)
		require.NoError(t, err)
		require.Equal(t, code, unpack(t, answer).RCode)
	}
}
