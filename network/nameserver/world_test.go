package nameserver

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

// patience is for what shall happen; nothing here waits for what shall not.
const patience = time.Minute

// patient are the usual bounds, but for times that a machine which is busy may
// take over what nobody waits for in the end.
var patient = bounds{
	questions: usual.questions, connections: usual.connections,
	question: patience, resolver: patience, idle: patience,
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sockets returns a UDP and a TCP socket at the same port of the loopback
// address.
func sockets(t testing.TB) (*net.UDPConn, *net.TCPListener) {
	t.Helper()
	for range 100 {
		tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
		require.NoError(t, err)
		udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(tcp.Addr().(*net.TCPAddr).AddrPort()))
		if err == nil {
			return udp, tcp
		}
		require.NoError(t, tcp.Close())
	}
	require.Fail(t, "no port is free in both protocols")
	return nil, nil
}

// upstream is a small resolver. Its answers are what a function says, for a
// question that came by "udp" or "tcp".
type upstream struct {
	address netip.AddrPort
	answer  func(network string, asked dnsmessage.Message) [][]byte

	mutex sync.Mutex
	seen  []string // network, name and type of every question
	busy  int
	most  int // questions that were being answered at once
}

func newUpstream(t testing.TB, answer func(network string, asked dnsmessage.Message) [][]byte) *upstream {
	t.Helper()
	udp, tcp := sockets(t)
	u := &upstream{address: udp.LocalAddr().(*net.UDPAddr).AddrPort(), answer: answer}
	var running sync.WaitGroup
	running.Go(func() { u.serveUDP(udp, &running) })
	running.Go(func() { u.serveTCP(tcp, &running) })
	t.Cleanup(func() {
		udp.Close()
		tcp.Close()
		running.Wait()
	})
	return u
}

func (u *upstream) serveUDP(udp *net.UDPConn, running *sync.WaitGroup) {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := udp.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		msg := append([]byte{}, buffer[:n]...)
		running.Go(func() {
			for _, answer := range u.answers("udp", msg) {
				udp.WriteToUDPAddrPort(answer, from)
			}
		})
	}
}

func (u *upstream) serveTCP(tcp net.Listener, running *sync.WaitGroup) {
	for {
		conn, err := tcp.Accept()
		if err != nil {
			return
		}
		running.Go(func() {
			defer conn.Close()
			msg, err := readMessage(conn)
			if err != nil {
				return
			}
			for _, answer := range u.answers("tcp", msg) {
				writeMessage(conn, answer)
			}
		})
	}
}

func (u *upstream) answers(network string, msg []byte) [][]byte {
	var asked dnsmessage.Message
	if asked.Unpack(msg) != nil {
		return nil
	}
	u.enter(fmt.Sprintf("%s %s %s", network, asked.Questions[0].Name, asked.Questions[0].Type))
	defer u.leave()
	return u.answer(network, asked)
}

func (u *upstream) enter(question string) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	u.seen = append(u.seen, question)
	u.busy++
	u.most = max(u.most, u.busy)
}

func (u *upstream) leave() {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	u.busy--
}

// asked returns what the resolver was asked until now.
func (u *upstream) asked() []string {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	return append([]string{}, u.seen...)
}

// busiest returns how many questions it had at once.
func (u *upstream) busiest() int {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	return u.most
}

// saying makes a resolver that gives everybody the same records.
func saying(t testing.TB, lines ...string) *upstream {
	t.Helper()
	return newUpstream(t, func(_ string, asked dnsmessage.Message) [][]byte {
		return [][]byte{pack(t, answerTo(t, asked, lines...))}
	})
}

// failing makes a resolver that has nothing for anybody but a code.
func failing(t testing.TB, code dnsmessage.RCode) *upstream {
	t.Helper()
	return newUpstream(t, func(_ string, asked dnsmessage.Message) [][]byte {
		answer := answerTo(t, asked)
		answer.RCode = code
		return [][]byte{pack(t, answer)}
	})
}

// silent returns the address of a resolver that never answers.
func silent(t testing.TB) netip.AddrPort {
	t.Helper()
	udp, tcp := sockets(t)
	t.Cleanup(func() { udp.Close(); tcp.Close() })
	return udp.LocalAddr().(*net.UDPAddr).AddrPort()
}

// closed returns an address where nobody listens.
func closed(t testing.TB) netip.AddrPort {
	t.Helper()
	udp, tcp := sockets(t)
	require.NoError(t, udp.Close())
	require.NoError(t, tcp.Close())
	return udp.LocalAddr().(*net.UDPAddr).AddrPort()
}

// asking returns resolvers as options want them.
func asking(addresses ...netip.AddrPort) func() []netip.AddrPort {
	return func() []netip.AddrPort { return addresses }
}

// relay is a server of ours on a loopback address.
type relay struct {
	*Server
	address string
}

func newRelay(t testing.TB, o Options) relay {
	t.Helper()
	return newBoundRelay(t, o, patient)
}

func newBoundRelay(t testing.TB, o Options, b bounds) relay {
	t.Helper()
	udp, tcp := sockets(t)
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	r := relay{Server: serve(udp, tcp, o, b), address: udp.LocalAddr().String()}
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// dial returns a connection that is not patient for ever.
func dial(t testing.TB, network, address string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout(network, address, patience)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// ask sends a message by "udp" or "tcp" and returns the answer, which has its
// id.
func ask(t testing.TB, network, address string, msg []byte) dnsmessage.Message {
	t.Helper()
	conn := dial(t, network, address)
	require.NoError(t, transports[network].write(conn, msg))
	answer, err := transports[network].read(conn)
	require.NoError(t, err)
	require.Equal(t, binary.BigEndian.Uint16(msg), binary.BigEndian.Uint16(answer))
	return unpack(t, answer)
}

// addresses are those of the answer section.
func addresses(message dnsmessage.Message) []string {
	var found []string
	for _, resource := range message.Answers {
		switch body := resource.Body.(type) {
		case *dnsmessage.AResource:
			found = append(found, netip.AddrFrom4(body.A).String())
		case *dnsmessage.AAAAResource:
			found = append(found, netip.AddrFrom16(body.AAAA).String())
		}
	}
	return found
}

// class remembers what was learnt.
type class struct {
	mutex sync.Mutex
	found []Learnt
}

func (c *class) learn(_ context.Context, found []Learnt) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.found = append(c.found, found...)
	return nil
}

func (c *class) learnt() []Learnt {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return append([]Learnt{}, c.found...)
}
