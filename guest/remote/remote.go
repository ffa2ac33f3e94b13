// Package remote prepares guests that have no agent of ours, over SSH: it logs
// in with a password or a key, runs scripts as root with their output
// streamed, makes a booted guest a golden one, and gives each worker its
// identity. Linux, FreeBSD and macOS guests are told apart by what their uname
// says. Booting a guest, and finding its address, are the backends' business.
//
// It fails closed: a script that does not come to its last line has failed.
package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/sshkey"
)

// Login is how this host gets into a guest.
type Login struct {
	User string
	// Password and Key (a private key in PEM form) are offered as far as they
	// are given.
	Password string
	Key      string
	// HostKey is the guest's host key in the form of a .pub file. Where it is
	// empty nobody knows it yet, and any is taken: a guest's first boot.
	HostKey string
}

// Guest is a guest that we are logged in to.
type Guest struct {
	client *ssh.Client
	user   string
	// system is what uname says of the guest, arch its processor as Go names
	// it, and root the command that reads a script and runs it as root.
	system, arch, root string
}

// Systems and processors as Go names them, by what uname calls them.
var (
	oses   = map[string]string{"Linux": "linux", "FreeBSD": "freebsd", "Darwin": "darwin"}
	arches = map[string]string{"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
)

const (
	// dialTimeout is short: a packet that was sent before the guest's network
	// was up is lost.
	dialTimeout = 2 * time.Second
	// loginTimeout is for one login, which a busy guest may make slow.
	loginTimeout = 30 * time.Second
	// unansweredPause is the pause while nothing answers. refusedPause follows a
	// login that failed: OpenSSH penalizes addresses whose logins fail often.
	unansweredPause = 100 * time.Millisecond
	refusedPause    = 2 * time.Second
)

// Locate says where a guest's SSH server is, as far as that is known.
type Locate func(ctx context.Context) (netip.AddrPort, error)

// Wait tries to log in until that succeeds or ctx ends, and returns the guest
// with the address at which it answered. It asks for the address anew each time,
// and goes on after another host key: an old lease may lead elsewhere.
func Wait(ctx context.Context, locate Locate, login Login) (*Guest, netip.AddrPort, error) {
	config, err := login.config()
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	var last error
	for {
		address, err := locate(ctx)
		pause := unansweredPause
		if err == nil {
			var g *Guest
			if g, pause, err = dial(ctx, address, config); err == nil {
				return g, address, nil
			}
			err = fmt.Errorf("logging in at %s as %s: %w", address, login.User, err)
		}
		if ctx.Err() == nil || last == nil { // else it failed because ctx ended
			last = err
		}
		select {
		case <-ctx.Done():
			err := fmt.Errorf("waiting for the guest's SSH server: %w; the last try: %w", context.Cause(ctx), last)
			return nil, netip.AddrPort{}, err
		case <-time.After(pause):
		}
	}
}

func (l Login) config() (*ssh.ClientConfig, error) {
	config := &ssh.ClientConfig{User: l.User, HostKeyCallback: ssh.InsecureIgnoreHostKey()}
	if l.HostKey != "" {
		if err := sshkey.Pin(config, l.HostKey); err != nil {
			return nil, fmt.Errorf("pinning the guest's host key: %w", err)
		}
	}
	if l.Key != "" {
		key, err := ssh.ParsePrivateKey([]byte(l.Key))
		if err != nil {
			return nil, fmt.Errorf("reading the key of user %s: %w", l.User, err)
		}
		config.Auth = append(config.Auth, ssh.PublicKeys(key))
	}
	if l.Password != "" {
		config.Auth = append(config.Auth, ssh.Password(l.Password), ssh.KeyboardInteractive(answer(l.Password)))
	}
	return config, nil
}

// answer gives the password to a server that asks for it in its own words, as
// FreeBSD's and macOS's do.
func answer(password string) ssh.KeyboardInteractiveChallenge {
	return func(_, _ string, questions []string, _ []bool) ([]string, error) {
		answers := make([]string, len(questions))
		for i := range answers {
			answers[i] = password
		}
		return answers, nil
	}
}

// dial logs in once. When that fails it also says how long to wait before the
// next time.
func dial(ctx context.Context, address netip.AddrPort, config *ssh.ClientConfig) (*Guest, time.Duration, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", address.String())
	if err != nil {
		return nil, unansweredPause, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(loginTimeout)); err != nil {
		return nil, unansweredPause, errors.Join(err, conn.Close())
	}
	c, channels, requests, err := ssh.NewClientConn(conn, address.String(), config)
	if err != nil {
		return nil, refusedPause, errors.Join(err, ignoreClosed(conn.Close()))
	}
	g := &Guest{client: ssh.NewClient(c, channels, requests), user: config.User}
	if err := g.explore(ctx); err != nil {
		return nil, refusedPause, errors.Join(err, ignoreClosed(g.Close()))
	}
	return g, 0, conn.SetDeadline(time.Time{})
}

// explore asks what the guest is, and how to be root there.
func (g *Guest) explore(ctx context.Context) error {
	var answer lines.Beginning
	err := g.stream(ctx, "sh -s", strings.NewReader(script("explore")), &answer)
	said := strings.Split(strings.TrimSpace(answer.String()), "\n")
	if err != nil || len(said) != 3 {
		return fmt.Errorf("asking what the guest is: it said %q: %w", said, cmp.Or(err, errOdd))
	}
	g.system, g.arch, g.root = said[0], arches[said[1]], said[2]
	switch {
	case g.OS() == "":
		return fmt.Errorf("the guest's system is %q, and only Linux, FreeBSD and macOS are known", g.system)
	case g.root == "none":
		return fmt.Errorf("user %s cannot become root in the guest without a password: "+
			"let the image allow it by sudo, doas or su", g.user)
	}
	return nil
}

var errOdd = errors.New("three lines were expected")

// OS is the guest's system as Go names it: linux, freebsd or darwin.
func (g *Guest) OS() string { return oses[g.system] }

// Close ends the connection.
func (g *Guest) Close() error { return ignoreClosed(g.client.Close()) }

// ignoreClosed is for connections that the other end, or the end of a context,
// has closed already.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
