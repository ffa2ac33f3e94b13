package access

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

var _ pool.Rehearser = SSH{}

// rehearsal is what jobs begin with: the runner's shell functions, sources, and its own
// binary for artifacts and caches. It needs no network, and leaves nothing.
const rehearsal = `set +o noclobber
: | eval 'export FF_TEST=x; echo "Running on $(hostname)..."; cd "$HOME"'
at=$(mktemp -d) && cd "$at" || exit 0
mkdir -p builds/a && rm -rf builds/a && : >file && cat file && chmod 600 file && ls && date && sed -n p file | tr a b
git init -q main && cd main && git config a.b c && : >file && git add file &&
git -c user.name=a -c user.email=a commit -qm a && git clone -q . ../copy && git fetch -q ../copy && git clean -ffdx &&
git checkout -q --detach && git ls-remote -q http://127.0.0.1:9/
command -v gitlab-runner >/dev/null && gitlab-runner artifacts-uploader --help
cd / && rm -rf "$at"
exit 0
`

// Rehearse runs in a session of its own, as each stage of a job does, and ends with it.
func (s SSH) Rehearse(ctx context.Context, addr netip.AddrPort, identity guest.Identity, key pool.Key) error {
	if connected(addr) {
		return nil
	}
	config, err := clientConfig(identity, key)
	if err != nil {
		return err
	}
	dial := s.dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	conn, err := dial(ctx, "tcp", addr.String())
	if err != nil {
		return fmt.Errorf("rehearsing at %s: %w", addr, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	c, channels, requests, err := ssh.NewClientConn(conn, addr.String(), config)
	if err != nil {
		return fmt.Errorf("rehearsing at %s: %w", addr, because(ctx, err))
	}
	client := ssh.NewClient(c, channels, requests)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return fmt.Errorf("rehearsing at %s: opening a session: %w", addr, because(ctx, err))
	}
	session.Stdin = strings.NewReader(rehearsal)
	if err := session.Run("bash --login"); err != nil {
		return fmt.Errorf("rehearsing at %s: %w", addr, because(ctx, err))
	}
	return nil
}
