package access_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"regexp"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/sshkey"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNewMakesKeysThatBelongTogether(t *testing.T) {
	identity, key := newIdentity(t)
	assert.Equal(t, "p-a", identity.Hostname)
	assert.Equal(t, "runner", identity.User)
	assert.Regexp(t, regexp.MustCompile(`^[0-9a-f]{32}$`), identity.MachineID)
	assert.NotContains(t, identity.AuthorizedKey, "\n")

	assertPair(t, identity.HostKey, identity.HostKeyPublic)
	assertPair(t, string(key), identity.AuthorizedKey)
}

func TestNewNeverRepeatsItself(t *testing.T) {
	a, aKey := newIdentity(t)
	b, bKey := newIdentity(t)
	assert.NotEqual(t, a.MachineID, b.MachineID)
	assert.NotEqual(t, a.HostKey, b.HostKey)
	assert.NotEqual(t, aKey, bKey)
	assert.NotEqual(t, a.HostKey, aKey)
}

func TestReadyWaitsForTheServer(t *testing.T) {
	identity, key := newIdentity(t)
	addr := freePort(t)
	door := &door{identity: identity}
	time.AfterFunc(150*time.Millisecond, func() { door.openAt(t, addr.String()) })
	require.NoError(t, access.SSH{}.Ready(limit(t), addr, identity, key))
}

func TestReadyWaitsForTheAccount(t *testing.T) {
	identity, key := newIdentity(t)
	door := &door{identity: identity}
	door.refusals.Store(1)
	require.NoError(t, access.SSH{}.Ready(limit(t), door.open(t), identity, key))
	assert.Negative(t, door.refusals.Load(), "a session was refused, then one was opened")
}

// TestReadyGivesASlowWorkerMoreTime has a server that never answers within the
// first time-out, as an emulated guest among many.
func TestReadyGivesASlowWorkerMoreTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		identity, key := newIdentity(t)
		slow := &door{identity: identity, delay: 11 * time.Second}
		tries := 0
		ssh := access.WithDial(func(context.Context, string, string) (net.Conn, error) {
			tries++
			host, inside := buffered()
			go slow.serve(inside)
			return host, nil
		})
		require.NoError(t, ssh.Ready(limit(t), netip.AddrPort{}, identity, key))
		require.Equal(t, 2, tries)
	})
}

// buffered is a connection in memory whose ends can both write before they read,
// as the ends of SSH do.
func buffered() (net.Conn, net.Conn) {
	one, oneEnd := net.Pipe()
	other, otherEnd := net.Pipe()
	pump := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}
	go pump(oneEnd, otherEnd)
	go pump(otherEnd, oneEnd)
	return one, other
}

func TestReadyDoesNotWaitForAnotherHost(t *testing.T) {
	identity, key := newIdentity(t)
	other, _ := newIdentity(t)
	other.AuthorizedKey = identity.AuthorizedKey
	ctx := limit(t)
	err := access.SSH{}.Ready(ctx, (&door{identity: other}).open(t), identity, key)
	require.ErrorIs(t, err, sshkey.ErrHostKey)
	assert.NoError(t, ctx.Err())
}

func TestReadySaysWhatWentWrongLast(t *testing.T) {
	t.Parallel()
	identity, key := newIdentity(t)
	tooLate := errors.New("too late")
	t.Run("nothing answers", func(t *testing.T) {
		addr := deafPort(t)
		ctx, cancel := context.WithCancelCause(limit(t))
		defer cancel(nil)
		tries := 0
		ssh := access.WithDial(func(ctx context.Context, network, address string) (net.Conn, error) {
			if tries++; tries == 2 { // so the first is over
				cancel(tooLate)
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		})
		err := ssh.Ready(ctx, addr, identity, key)
		require.ErrorIs(t, err, tooLate)
		assert.ErrorContains(t, err, addr.String())
		assert.ErrorContains(t, err, "refused")
	})
	t.Run("the key is not let in", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancelCause(limit(t))
		defer cancel(nil)
		_, stranger := newIdentity(t)
		door := &door{identity: identity}
		door.refused = func(tries int32) {
			if tries == 2 { // so the first is over
				cancel(tooLate)
			}
		}
		err := access.SSH{}.Ready(ctx, door.open(t), identity, stranger)
		require.ErrorIs(t, err, tooLate)
		assert.ErrorContains(t, err, "unable to authenticate")
	})
	t.Run("the server says nothing", func(t *testing.T) {
		t.Parallel()
		mute, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer mute.Close()
		ctx, cancel := context.WithCancelCause(limit(t))
		defer cancel(nil)
		go func() {
			if conn, err := mute.Accept(); err == nil {
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 1)) // the handshake has begun
				cancel(tooLate)
				<-t.Context().Done()
			}
		}()
		err = access.SSH{}.Ready(ctx, netip.MustParseAddrPort(mute.Addr().String()), identity, key)
		require.ErrorIs(t, err, tooLate)
		assert.ErrorIs(t, err, net.ErrClosed, "the end of the context ends the handshake")
	})
}

func TestReadyRefusesKeysItCannotRead(t *testing.T) {
	identity, key := newIdentity(t)
	addr := freePort(t)
	assert.ErrorContains(t, access.SSH{}.Ready(t.Context(), addr, identity, ""), "private key")
	identity.HostKeyPublic = ""
	assert.ErrorContains(t, access.SSH{}.Ready(t.Context(), addr, identity, key), "host key")
}

// door is the least that is an SSH server: it lets in who the identity names,
// and refuses the first sessions.
type door struct {
	identity guest.Identity
	refusals atomic.Int32
	delay    time.Duration // before each handshake
	// refused, if it is set, hears how many keys were not let in.
	refused func(tries int32)
	tries   atomic.Int32
}

func (d *door) open(t *testing.T) netip.AddrPort { return d.openAt(t, "127.0.0.1:0") }

func (d *door) openAt(t *testing.T, addr string) netip.AddrPort {
	listener, err := net.Listen("tcp", addr)
	if !assert.NoError(t, err) {
		return netip.AddrPort{}
	}
	done := make(chan struct{})
	t.Cleanup(func() { listener.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			d.serve(conn)
		}
	}()
	return netip.MustParseAddrPort(listener.Addr().String())
}

func (d *door) serve(conn net.Conn) {
	defer conn.Close()
	time.Sleep(d.delay)
	host, err := ssh.ParsePrivateKey([]byte(d.identity.HostKey))
	if err != nil {
		panic(err)
	}
	config := &ssh.ServerConfig{}
	config.PublicKeyCallback = func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		allowed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(d.identity.AuthorizedKey))
		if err != nil || string(allowed.Marshal()) != string(key.Marshal()) {
			if tries := d.tries.Add(1); d.refused != nil {
				d.refused(tries)
			}
			return nil, errors.New("not this key")
		}
		return nil, nil
	}
	config.AddHostKey(host)
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for channel := range channels {
		if d.refusals.Add(-1) >= 0 {
			channel.Reject(ssh.Prohibited, "system is booting up")
			continue
		}
		if _, requests, err := channel.Accept(); err == nil {
			go ssh.DiscardRequests(requests)
		}
	}
}

func newIdentity(t *testing.T) (guest.Identity, pool.Key) {
	t.Helper()
	identity, key, err := access.SSH{}.New("p-a", "runner")
	require.NoError(t, err)
	return identity, key
}

func assertPair(t *testing.T, private, public string) {
	t.Helper()
	signer, err := ssh.ParsePrivateKey([]byte(private))
	require.NoError(t, err)
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	require.NoError(t, err)
	assert.Equal(t, ssh.KeyAlgoED25519, key.Type())
	assert.Equal(t, signer.PublicKey().Marshal(), key.Marshal())
}

// freePort is an address at which nothing answers yet.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return netip.MustParseAddrPort(listener.Addr().String())
}

// deafPort is an address at which nothing answers, nor will, since it is taken:
// it is the near end of a connection.
func deafPort(t *testing.T) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	conn, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

// limit is longer than any test here takes: what takes time is another's load.
func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
