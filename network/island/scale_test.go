//go:build linux

package island

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// many is how many workers a large host has.
const many = 200

// atOnce is how many leases are made or removed at the same time, where there
// are many.
const atOnce = 4

// key returns the n-th key of worker ids in the order of the alphabet.
func key(n int) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz234567"
	letters := make([]byte, workerid.KeyLength)
	for i := range slices.Backward(letters) {
		letters[i] = alphabet[n%len(alphabet)]
		n /= len(alphabet)
	}
	return string(letters)
}

// workers returns so many ids of the pool.
func workers(pool string, count int) []string {
	ids := make([]string, count)
	for n := range ids {
		ids[n] = workerid.Join(pool, key(n))
	}
	return ids
}

// forEach runs do for several workers at once.
func forEach(ids []string, do func(worker string) error) error {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, id := range ids {
		group.Go(func() error { return do(id) })
	}
	return group.Wait()
}

// acquireAll makes leases until the test ends.
func acquireAll(t testing.TB, island *Island, ids []string) {
	t.Helper()
	t.Cleanup(func() {
		require.NoError(t, forEach(ids, func(id string) error { return island.Release(context.Background(), id) }))
	})
	require.NoError(t, forEach(ids, func(id string) error {
		_, err := island.Acquire(t.Context(), id)
		return err
	}))
}

func TestHostRulesAreAsManyForManyWorkersAsForOne(t *testing.T) {
	newInternet(t)
	island := openIsland(t, testOptions(t, "p"))
	ids := workers("p", many)
	acquireAll(t, island, ids[:1])
	one, policy := countRules(t), policyRules(t)
	require.NotZero(t, one["table"])
	require.NotZero(t, one["chain"])
	require.NotZero(t, one["rule"])

	acquireAll(t, island, ids[1:])
	require.Len(t, find(t, island), many)
	require.Equal(t, one, countRules(t))
	require.Equal(t, policy, policyRules(t))
}

// countRules counts what nft lists of the host, by kind: tables, chains, rules,
// sets, maps and all else that it knows.
func countRules(t *testing.T) map[string]int {
	t.Helper()
	out, err := exec.Command("nft", "-j", "list", "ruleset").Output()
	require.NoError(t, err)
	var listed struct {
		NFTables []map[string]json.RawMessage `json:"nftables"`
	}
	require.NoError(t, json.Unmarshal(out, &listed))
	counts := make(map[string]int)
	for _, object := range listed.NFTables {
		for kind := range maps.Keys(object) {
			counts[kind]++
		}
	}
	return counts
}

// policyRules are those that choose a routing table.
func policyRules(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for _, family := range []string{"-4", "-6"} {
		out, err := exec.Command("ip", family, "rule").CombinedOutput()
		require.NoError(t, err, string(out))
		text.Write(out)
	}
	return text.String()
}

func TestTrafficGoesOnWhileOthersComeAndGo(t *testing.T) {
	internet := newInternet(t)
	echo(t, internet, public+":7")
	options := testOptions(t, "p")
	island := openIsland(t, options)
	guest := newGuest(t, acquire(t, island, "p-zzzzzzzz"))
	stream := talk(t, guest, "tcp4")
	questions := talk(t, guest, "udp4")
	newcomers := meet(t, guest)

	for _, change := range []struct {
		what string
		make func() error
	}{
		{"100 leases, one after the other and several at once", func() error {
			ids := workers("p", 100)
			return errors.Join(comeAndGo(island, ids[:10], 1), comeAndGo(island, ids[10:], atOnce))
		}},
		{"a second pool", func() error { return openAndClose(t, testOptions(t, "q")) }},
		{"a reload", func() error { return island.Open(t.Context()) }},
		{"another process that opens the same pool", func() error {
			again, err := New(options)
			if err != nil {
				return err
			}
			return errors.Join(again.Open(t.Context()), again.unwatch())
		}},
	} {
		for _, traffic := range []*traffic{stream, questions, newcomers} {
			traffic.requireGoesOn(t, "before "+change.what)
		}
		require.NoError(t, change.make(), change.what)
		for _, traffic := range []*traffic{stream, questions, newcomers} {
			traffic.requireGoesOn(t, "after "+change.what)
		}
	}
	for _, traffic := range []*traffic{stream, questions, newcomers} {
		t.Logf("%s: %d exchanges", traffic.what, traffic.end(t))
	}
}

// comeAndGo makes and removes leases.
func comeAndGo(island *Island, ids []string, atOnce int) error {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, id := range ids {
		group.Go(func() error {
			_, err := island.Acquire(context.Background(), id)
			return errors.Join(err, island.Release(context.Background(), id))
		})
	}
	return group.Wait()
}

// openAndClose is the whole life of a pool with one worker.
func openAndClose(t *testing.T, o Options) error {
	island, err := New(o)
	if err != nil {
		return err
	}
	return errors.Join(island.Open(t.Context()), comeAndGo(island, workers(o.Pool, 1), 1), island.Close(t.Context()))
}

// echo sends all that it hears back, on connections and in packets.
func echo(t testing.TB, namespace, address string) {
	t.Helper()
	listener, socket := listen(t, namespace, address), listenPacket(t, namespace, address)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); io.Copy(conn, conn) }()
		}
	}()
	go func() {
		packet := make([]byte, 64)
		for {
			n, from, err := socket.ReadFrom(packet)
			if err != nil {
				return
			}
			socket.WriteTo(packet[:n], from)
		}
	}()
}

// traffic is numbers that a guest sends and wants back, each before it sends
// the next: none is ever lost for want of room in a buffer. One that does not
// come back ends it.
type traffic struct {
	what      string
	exchanged atomic.Uint64
	stop      context.CancelFunc
	ended     chan struct{}
	err       error
}

// begin runs exchange, which sends a number and wants it back, again and again.
func begin(what string, exchange func(number uint64) error) *traffic {
	ctx, stop := context.WithCancel(context.Background())
	traffic := &traffic{what: what, stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(traffic.ended)
		for ctx.Err() == nil {
			number := traffic.exchanged.Load() + 1
			if err := exchange(number); err != nil {
				traffic.err = fmt.Errorf("%s: number %d: %w", what, number, err)
				return
			}
			traffic.exchanged.Store(number)
			time.Sleep(time.Millisecond) // and leaves the processor to what it watches
		}
	}()
	return traffic
}

// end stops it, and returns how many numbers came back, which are all.
func (tr *traffic) end(t *testing.T) uint64 {
	t.Helper()
	tr.stop()
	<-tr.ended
	require.NoError(t, tr.err)
	return tr.exchanged.Load()
}

// requireGoesOn waits until a number came back that was sent after the call.
func (tr *traffic) requireGoesOn(t *testing.T, when string) {
	t.Helper()
	enough := tr.exchanged.Load() + 2
	for tr.exchanged.Load() < enough {
		select {
		case <-tr.ended:
			require.NoError(t, tr.err, when)
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// talk has one connection, or one socket, to the echo.
func talk(t *testing.T, guest, network string) *traffic {
	conn := dialEcho(t, guest, network)
	t.Cleanup(func() { conn.Close() })
	traffic := begin(network, func(number uint64) error { return sendAndHear(conn, number) })
	t.Cleanup(traffic.stop)
	return traffic
}

// meet asks each question from a socket of its own: the first packet of a
// connection is the one that rules look at.
func meet(t *testing.T, guest string) *traffic {
	traffic := begin("udp4, each from another socket", func(number uint64) error {
		var conn net.Conn
		err := Do(guest, func() (err error) {
			conn, err = net.Dial("udp4", public+":7")
			return err
		})
		if err != nil {
			return err
		}
		defer conn.Close()
		return sendAndHear(conn, number)
	})
	t.Cleanup(traffic.stop)
	return traffic
}

func dialEcho(t *testing.T, guest, network string) net.Conn {
	t.Helper()
	var conn net.Conn
	require.NoError(t, Do(guest, func() (err error) {
		conn, err = net.DialTimeout(network, public+":7", patience)
		return err
	}))
	return conn
}

func sendAndHear(conn net.Conn, number uint64) error {
	conn.SetDeadline(time.Now().Add(patience))
	var sent, heard [8]byte
	binary.BigEndian.PutUint64(sent[:], number)
	if _, err := conn.Write(sent[:]); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, heard[:]); err != nil {
		return err
	}
	if heard != sent {
		return fmt.Errorf("heard %d", binary.BigEndian.Uint64(heard[:]))
	}
	return nil
}
