package access

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

var _ pool.Watcher = SSH{}

// greeting begins what an SSH server says first, and longestGreeting is more than
// any says, in bytes; see RFC 4253.
const (
	greeting        = "SSH-"
	longestGreeting = 8 << 10
)

// Answers is nil when the SSH server at the address greets, or when a connection
// from this network namespace to it is open. It does not log in.
func (s SSH) Answers(ctx context.Context, addr netip.AddrPort) error {
	if connected(addr) {
		return nil
	}
	if err := s.greeted(ctx, addr); err != nil {
		return fmt.Errorf("SSH at %s: %w", addr, err)
	}
	return nil
}

func (s SSH) greeted(ctx context.Context, addr netip.AddrPort) error {
	conn, err := s.connect(ctx, addr)
	if err != nil {
		return because(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	said := bufio.NewReader(io.LimitReader(conn, longestGreeting))
	for { // other lines may come before
		line, err := said.ReadString('\n')
		switch {
		case strings.HasPrefix(line, greeting):
			return nil
		case err == io.EOF:
			return fmt.Errorf("no SSH server answers there: %q", lines.Printable(line))
		case err != nil:
			return because(ctx, err)
		}
	}
}

// because prefers why ctx ended to what that brought about.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
