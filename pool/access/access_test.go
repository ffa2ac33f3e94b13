package access_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
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
	time.AfterFunc(150*time.Millisecond, func() { door.open(t, addr) })
	require.NoError(t, access.SSH{}.Ready(limit(t, 10*time.Second), addr, identity, key))
}

func TestReadyWaitsForTheAccount(t *testing.T) {
	identity, key := newIdentity(t)
	addr := freePort(t)
	door := &door{identity: identity}
	door.refusals.Store(1)
	door.open(t, addr)
	require.NoError(t, access.SSH{}.Ready(limit(t, 10*time.Second), addr, identity, key))
	assert.Negative(t, door.refusals.Load(), "a session was refused, then one was opened")
}

// TestReadyGivesASlowWorkerMoreTime has a server that never answers within the
// first time-out, as an emulated guest among many.
func TestReadyGivesASlowWorkerMoreTime(t *testing.T) {
	t.Parallel()
	identity, key := newIdentity(t)
	addr := freePort(t)
	(&door{identity: identity, delay: 11 * time.Second}).open(t, addr)
	require.NoError(t, access.SSH{}.Ready(limit(t, time.Minute), addr, identity, key))
}

func TestReadyDoesNotWaitForAnotherHost(t *testing.T) {
	identity, key := newIdentity(t)
	other, _ := newIdentity(t)
	other.AuthorizedKey = identity.AuthorizedKey
	addr := freePort(t)
	(&door{identity: other}).open(t, addr)
	began := time.Now()
	err := access.SSH{}.Ready(limit(t, 10*time.Second), addr, identity, key)
	require.ErrorIs(t, err, access.ErrHostKey)
	assert.Less(t, time.Since(began), 5*time.Second)
}

func TestReadySaysWhatWentWrongLast(t *testing.T) {
	identity, key := newIdentity(t)
	tooLate := errors.New("too late")
	t.Run("nothing answers", func(t *testing.T) {
		addr := freePort(t)
		err := access.SSH{}.Ready(limitCause(t, 200*time.Millisecond, tooLate), addr, identity, key)
		require.ErrorIs(t, err, tooLate)
		assert.ErrorContains(t, err, addr.String())
		assert.ErrorContains(t, err, "refused")
	})
	t.Run("the key is not let in", func(t *testing.T) {
		addr := freePort(t)
		_, stranger := newIdentity(t)
		(&door{identity: identity}).open(t, addr)
		err := access.SSH{}.Ready(limitCause(t, 200*time.Millisecond, tooLate), addr, identity, stranger)
		require.ErrorIs(t, err, tooLate)
		assert.ErrorContains(t, err, "unable to authenticate")
	})
	t.Run("the server says nothing", func(t *testing.T) {
		mute, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts for it
		require.NoError(t, err)
		defer mute.Close()
		addr := netip.MustParseAddrPort(mute.Addr().String())
		began := time.Now()
		err = access.SSH{}.Ready(limitCause(t, 200*time.Millisecond, tooLate), addr, identity, key)
		require.ErrorIs(t, err, tooLate)
		assert.Less(t, time.Since(began), 5*time.Second, "the end of the context ends the handshake")
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
}

func (d *door) open(t *testing.T, addr netip.AddrPort) {
	listener, err := net.Listen("tcp", addr.String())
	if !assert.NoError(t, err) {
		return
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
}

func (d *door) serve(conn net.Conn) {
	defer conn.Close()
	time.Sleep(d.delay)
	host, err := ssh.ParsePrivateKey([]byte(d.identity.HostKey))
	if err != nil {
		panic(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		allowed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(d.identity.AuthorizedKey))
		if err != nil || string(allowed.Marshal()) != string(key.Marshal()) {
			return nil, errors.New("not this key")
		}
		return nil, nil
	}}
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

func limit(t *testing.T, d time.Duration) context.Context {
	return limitCause(t, d, context.DeadlineExceeded)
}

func limitCause(t *testing.T, d time.Duration, cause error) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, cause)
	t.Cleanup(cancel)
	return ctx
}
