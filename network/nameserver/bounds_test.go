package nameserver

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// slow makes a resolver that says when it is asked, and answers when it is let.
func slow(t testing.TB) (resolver *upstream, asked <-chan struct{}, let func()) {
	began, gate := make(chan struct{}, 1000), make(chan struct{})
	let = sync.OnceFunc(func() { close(gate) })
	resolver = newUpstream(t, func(_ string, asked dnsmessage.Message) [][]byte {
		began <- struct{}{}
		<-gate
		return [][]byte{pack(t, answerTo(t, asked, asked.Questions[0].Name.String()+" 1s A 192.0.2.1"))}
	})
	t.Cleanup(let) // before the resolver's own cleanup, which waits for its answers
	return resolver, began, let
}

// waitFor waits for so many of them.
func waitFor(t testing.TB, n int, events <-chan struct{}) {
	t.Helper()
	for range n {
		select {
		case <-events:
		case <-time.After(patience):
			require.Fail(t, "did not happen")
		}
	}
}

func TestFlood(t *testing.T) {
	resolver, asked, let := slow(t)
	b := patient
	b.questions = 4
	b.question, b.resolver = time.Hour, time.Hour
	r := newBoundRelay(t, Options{Names: mustParseNames(t, "*.gitlab.com"), Resolvers: asking(resolver.address)}, b)

	conn := dial(t, "udp", r.address)
	for i := range 100 {
		_, err := conn.Write(query(t, fmt.Sprintf("w%d.gitlab.com.", i), dnsmessage.TypeA))
		require.NoError(t, err)
	}
	// What needs no resolver is answered all the same, and only after all of
	// the flood was read.
	require.Equal(t, dnsmessage.RCodeNameError, ask(t, "udp", r.address, query(t, "evil.test.", dnsmessage.TypeA)).RCode)
	waitFor(t, b.questions, asked)

	// By TCP a question waits for its place.
	stream := dial(t, "tcp", r.address)
	require.NoError(t, writeMessage(stream, query(t, "tcp.gitlab.com.", dnsmessage.TypeA)))
	let()
	for range b.questions {
		answer, err := transports["udp"].read(conn)
		require.NoError(t, err)
		require.Len(t, unpack(t, answer).Answers, 1)
	}
	answer, err := readMessage(stream)
	require.NoError(t, err)
	require.Len(t, unpack(t, answer).Answers, 1)

	// There are places again.
	require.Len(t, ask(t, "udp", r.address, query(t, "after.gitlab.com.", dnsmessage.TypeA)).Answers, 1)
	require.NoError(t, r.Close())
	require.LessOrEqual(t, resolver.busiest(), b.questions)
	require.Len(t, resolver.asked(), b.questions+2)
}

// sleepy makes a resolver that takes its time over every answer.
func sleepy(t testing.TB, nap time.Duration) *upstream {
	return newUpstream(t, func(_ string, asked dnsmessage.Message) [][]byte {
		time.Sleep(nap)
		return [][]byte{pack(t, answerTo(t, asked))}
	})
}

func TestQuestionsByTCPWaitForAPlace(t *testing.T) {
	resolver := sleepy(t, 5*time.Millisecond)
	b := patient
	b.questions = 2
	b.question, b.resolver = time.Hour, time.Hour
	r := newBoundRelay(t, Options{Resolvers: asking(resolver.address)}, b)
	guests := make([]net.Conn, b.connections)
	for i := range guests {
		guests[i] = dial(t, "tcp", r.address)
		require.NoError(t, writeMessage(guests[i], query(t, "gitlab.com.", dnsmessage.TypeA)))
	}
	for _, guest := range guests {
		_, err := readMessage(guest)
		require.NoError(t, err)
	}
	require.NoError(t, r.Close())
	require.Len(t, resolver.asked(), len(guests))
	require.LessOrEqual(t, resolver.busiest(), b.questions)
}

// The time that a resolver takes is not the guest's.
func TestGuestMayWaitLongerThanItMayHesitate(t *testing.T) {
	b := patient
	b.idle = time.Second
	udp, tcp := sockets(t)
	conn := dial(t, "tcp", tcp.Addr().String())
	require.NoError(t, writeMessage(conn, query(t, "gitlab.com.", dnsmessage.TypeA)))
	// The question is there before anybody could wait for it.
	server := serve(udp, tcp, Options{Resolvers: asking(sleepy(t, b.idle+100*time.Millisecond).address)}, b)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	_, err := readMessage(conn)
	require.NoError(t, err)
}

// Close ends what is under way: questions that no resolver answers, questions
// that wait for a place, connections with nothing to say.
func TestCloseEndsEverything(t *testing.T) {
	resolver, asked, _ := slow(t)
	b := patient
	b.questions = 2
	b.question, b.resolver, b.idle = time.Hour, time.Hour, time.Hour
	r := newBoundRelay(t, Options{Resolvers: asking(resolver.address)}, b)

	question := query(t, "gitlab.com.", dnsmessage.TypeA)
	packets, stream, waiting, quiet := dial(t, "udp", r.address), dial(t, "tcp", r.address), dial(t, "tcp", r.address), dial(t, "tcp", r.address)
	_, err := packets.Write(question)
	require.NoError(t, err)
	require.NoError(t, writeMessage(stream, question))
	waitFor(t, b.questions, asked)
	require.NoError(t, writeMessage(waiting, question))

	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	for _, conn := range []net.Conn{stream, waiting, quiet} {
		_, err := conn.Read(make([]byte, 1))
		require.Error(t, err)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection is still open")
	}
	_, err = net.DialTimeout("tcp", r.address, patience)
	require.Error(t, err)
}

// Close waits for what others do on our behalf, and nothing is answered then.
// The clock is synctest's: it goes on only while Close waits.
func TestCloseWaits(t *testing.T) {
	resolver := saying(t, "gitlab.com. 1s A 192.0.2.1")
	synctest.Test(t, func(t *testing.T) {
		learning := make(chan struct{}, 1)
		var ended atomic.Bool
		r := newRelay(t, Options{
			Resolvers: asking(resolver.address),
			Learn: func(ctx context.Context, _ []Learnt) error {
				learning <- struct{}{}
				<-ctx.Done()
				time.Sleep(time.Hour)
				ended.Store(true)
				return ctx.Err()
			},
		})
		question := query(t, "gitlab.com.", dnsmessage.TypeA)
		_, err := dial(t, "udp", r.address).Write(question)
		require.NoError(t, err)
		waitFor(t, 1, learning)
		require.NoError(t, r.Close())
		require.True(t, ended.Load())
		require.Nil(t, r.pass("udp", decide(Names{}, question).question, question))
	})
}

func TestGuestThatSaysNothingIsLeft(t *testing.T) {
	b := patient
	b.idle = 50 * time.Millisecond
	r := newBoundRelay(t, Options{Resolvers: asking()}, b)
	for name, said := range map[string]string{"nothing": "", "half a length": "\x00", "half a message": "\x00\x10half"} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, "tcp", r.address)
			_, _ = io.WriteString(conn, said) // the relay may have lost its patience already
			_, err := conn.Read(make([]byte, 1))
			require.Error(t, err)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		})
	}
}

// counted is a listener that knows how many of its connections are open.
type counted struct {
	net.Listener
	mutex      sync.Mutex
	open, most int
}

type countedConn struct {
	net.Conn
	closed func()
}

func (c *counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.add(1)
	return countedConn{Conn: conn, closed: sync.OnceFunc(func() { c.add(-1) })}, nil
}

func (c *counted) add(n int) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.open += n
	c.most = max(c.most, c.open)
}

func (c countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

func TestConnectionsAreBounded(t *testing.T) {
	b := patient
	b.connections = 2
	b.idle = time.Hour
	udp, tcp := sockets(t)
	listener := &counted{Listener: tcp}
	server := serve(udp, listener, Options{Names: mustParseNames(t, "gitlab.com")}, b)

	guests := make([]net.Conn, 6)
	for i := range guests {
		guests[i] = dial(t, "tcp", tcp.Addr().String())
		require.NoError(t, writeMessage(guests[i], query(t, "evil.test.", dnsmessage.TypeA)))
	}
	for i, guest := range guests {
		_, err := readMessage(guest)
		require.NoError(t, err, "guest %d", i)
		require.NoError(t, guest.Close())
	}
	require.NoError(t, server.Close())
	require.Equal(t, b.connections, listener.most)
}

func TestOnce(t *testing.T) {
	o, now := newOnce(), time.Now()
	require.True(t, o.first("a", now))
	require.False(t, o.first("a", now.Add(memory-1)))
	require.True(t, o.first("b", now.Add(memory-1)))
	require.True(t, o.first("a", now.Add(memory)))
	for i := range capacity - 1 {
		require.True(t, o.first(fmt.Sprint(i), now.Add(memory)))
	}
	require.False(t, o.first("too many", now.Add(memory)))
	require.Len(t, o.said, capacity)
	require.True(t, o.first("too many", now.Add(2*memory)))
}

func TestPrintable(t *testing.T) {
	require.Equal(t, "gitlab.com.", printable("gitlab.com."))
	require.Equal(t, `\x00\n\"\u212a\xff.`, printable("\x00\n\"\u212a\xff."))
	require.False(t, strings.ContainsAny(printable("a\r\n\x1bb"), "\r\n\x1b"))
}
