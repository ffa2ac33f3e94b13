package remote

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/sshkey"
)

// at is the Locate of an address that is known.
func at(address netip.AddrPort) Locate {
	return func(context.Context) (netip.AddrPort, error) { return address, nil }
}

func TestWaitSaysWhatWentWrongLast(t *testing.T) {
	late := errors.New("too late")
	ctx, cancel := context.WithCancelCause(t.Context())
	asked := 0
	_, _, err := Wait(ctx, func(ctx context.Context) (netip.AddrPort, error) {
		if asked++; asked == 1 {
			return netip.AddrPort{}, errors.New("no lease yet")
		}
		cancel(late)
		return netip.AddrPort{}, ctx.Err()
	}, Login{User: "a"})
	require.ErrorIs(t, err, late)
	require.ErrorContains(t, err, "no lease yet")
}

func TestGuestsThatAreNotUsed(t *testing.T) {
	host, err := sshkey.NewPair("host")
	require.NoError(t, err)
	another, err := sshkey.NewPair("another")
	require.NoError(t, err)
	secret := Login{User: "a", Password: "secret"}
	pinned := Login{User: "a", Password: "secret", HostKey: another.Public}
	for name, test := range map[string]struct {
		answer func(string) (string, int)
		login  Login
		want   string
	}{
		"another host key":        {always("", 0), pinned, sshkey.ErrHostKey.Error()},
		"another password":        {always("", 0), Login{User: "a", Password: "guess"}, "unable to authenticate"},
		"an unknown system":       {always("Plan9\nx86_64\nsh -s\n", 0), secret, `system is "Plan9"`},
		"no way to be root":       {always("FreeBSD\namd64\nnone\n", 0), secret, "user a cannot become root"},
		"no sensible answer":      {always("welcome!\nLinux\nx86_64\nsh -s\n", 0), secret, "welcome!"},
		"no shell":                {always("", 1), secret, "exit code 1"},
		"a host key that is none": {always("", 0), Login{User: "a", HostKey: "rubbish"}, "pinning the guest's"},
		"a key that is none":      {always("", 0), Login{User: "a", Key: "rubbish"}, "reading the key of user a"},
	} {
		t.Run(name, func(t *testing.T) {
			address := odd{host, test.answer}.open(t)
			config, err := test.login.config()
			if err == nil {
				_, _, err = dial(limit(t, time.Minute), address, config)
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}

// TestHalfAnIdentityIsNone has a guest that hangs up while it is given one.
func TestHalfAnIdentityIsNone(t *testing.T) {
	host, err := sshkey.NewPair("host")
	require.NoError(t, err)
	for _, status := range []int{-1, 1, 255} {
		explored := false
		address := odd{host, func(input string) (string, int) {
			if !explored {
				explored = true
				return "Linux\nx86_64\nsh -s\n", 0
			}
			return "sshd: no", status
		}}.open(t)
		g, _, err := Wait(limit(t, time.Minute), at(address), Login{User: "a", Password: "secret"})
		require.NoError(t, err)
		id, _ := identity(t, "worker-c")
		require.ErrorContains(t, g.Rekey(limit(t, time.Minute), id), "giving worker-c its identity")
		require.NoError(t, g.Close())
	}
}

// TestWhatAGuestSaysLastIsQuotedWithoutHarm has one that would clear the screen of
// whoever reads the log, and says why it fails after more than an error may hold.
func TestWhatAGuestSaysLastIsQuotedWithoutHarm(t *testing.T) {
	host, err := sshkey.NewPair("host")
	require.NoError(t, err)
	explored := false
	address := odd{host, func(string) (string, int) {
		if !explored {
			explored = true
			return "Linux\nx86_64\nsh -s\n", 0
		}
		return strings.Repeat("progress\n", 100_000) + "\x1b[2J\x1b[Hno space left\a\n", 1
	}}.open(t)
	g, _, err := Wait(limit(t, time.Minute), at(address), Login{User: "a", Password: "secret"})
	require.NoError(t, err)
	defer g.Close() // for which the server waits, also when this fails
	id, _ := identity(t, "worker-e")
	err = g.Rekey(limit(t, time.Minute), id)
	require.ErrorContains(t, err, `no space left\a`)
	require.NotContains(t, err.Error(), "\x1b")
	require.Less(t, len(err.Error()), 1000)
}

// TestGuestMayBeOffBeforeItAnswers has one whose machine is seen to end before
// its answer is missed.
func TestGuestMayBeOffBeforeItAnswers(t *testing.T) {
	host, err := sshkey.NewPair("host")
	require.NoError(t, err)
	running, ended := context.WithCancelCause(limit(t, time.Minute))
	explored := false
	address := odd{host, func(string) (string, int) {
		if !explored {
			explored = true
			return "Linux\nx86_64\nsh -s\n", 0
		}
		ended(fmt.Errorf("%w: its process ended", guest.ErrGone))
		return "", -1
	}}.open(t)
	g, _, err := Wait(running, at(address), Login{User: "a", Password: "secret"})
	require.NoError(t, err)
	require.NoError(t, g.powerOff(running))
	require.NoError(t, g.Close())
}

// TestAddressIsAskedForAnew has a stale lease first, at which another answers.
func TestAddressIsAskedForAnew(t *testing.T) {
	host, err := sshkey.NewPair("host")
	require.NoError(t, err)
	another, err := sshkey.NewPair("another")
	require.NoError(t, err)
	fine := always("Darwin\narm64\nsudo -n sh -s\n", 0)
	addresses := []netip.AddrPort{odd{another, fine}.open(t), odd{host, fine}.open(t)}
	asked := 0
	g, met, err := Wait(limit(t, time.Minute), func(context.Context) (netip.AddrPort, error) {
		asked++
		if asked == 1 {
			return netip.AddrPort{}, errors.New("no lease yet")
		}
		return addresses[min(asked-2, 1)], nil
	}, Login{User: "a", Password: "secret", HostKey: host.Public})
	require.NoError(t, err)
	require.Equal(t, addresses[1], met)
	require.Equal(t, "darwin", g.OS())
	require.NoError(t, g.Close())
}

func TestSecretsTravelOnStandardInputOnly(t *testing.T) {
	host, err := sshkey.NewPair("host")
	require.NoError(t, err)
	var inputs []string
	address := odd{host, func(input string) (string, int) {
		inputs = append(inputs, input)
		return "FreeBSD\namd64\nsu root -c \"sh -s\"\n", 0
	}}.open(t)
	g, _, err := Wait(limit(t, time.Minute), at(address), Login{User: "a", Password: "secret"})
	require.NoError(t, err)
	id, _ := identity(t, "worker-d")
	require.NoError(t, g.Rekey(limit(t, time.Minute), id))
	require.NoError(t, g.Close())
	require.Len(t, inputs, 2)
	require.Contains(t, inputs[1], strings.TrimSpace(id.HostKey))
	require.Regexp(t, `entropy='[0-9a-f]{128}'`, inputs[1])
}
