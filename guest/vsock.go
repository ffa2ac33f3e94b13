package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// VsockPort is the vsock port that the agent listens on in guests without a
// virtio-serial port. It is a privileged port: only root can take it while the
// agent does not run.
const VsockPort = 700

const (
	// vsockPause is how long the host waits before it asks again for an agent
	// that does not listen yet. A clone waits for it.
	vsockPause = 20 * time.Millisecond
	// maxAnswer is the longest answer to the handshake, in bytes: "OK ", ten
	// digits, a line feed.
	maxAnswer = 14
)

// errRefused says that nothing listened on the port in the guest.
var errRefused = errors.New("nobody listens in the guest yet")

// DialVsock connects to the agent through a hybrid vsock socket, as Firecracker
// and Cloud Hypervisor have them: a unix socket on the host, to which the host
// first writes the port in the guest. It tries until the agent listens or ctx
// ends.
func DialVsock(ctx context.Context, path string) (net.Conn, error) {
	for {
		conn, err := dialVsock(ctx, path)
		if err == nil {
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("reaching the agent by vsock: %w", errors.Join(context.Cause(ctx), err))
		case <-time.After(vsockPause):
		}
	}
}

func dialVsock(ctx context.Context, path string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	release := bind(ctx, conn)
	defer release()
	if _, err = fmt.Fprintf(conn, "CONNECT %d\n", VsockPort); err != nil {
		err = errors.Join(errRefused, err)
	} else {
		err = readAnswer(conn)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// readAnswer reads exactly one line, "OK " and the port on the host's side: what
// comes after it is the agent's. The connection is closed without an answer when
// nothing listens on the port.
func readAnswer(in io.Reader) error {
	line := make([]byte, 0, maxAnswer)
	for len(line) < maxAnswer {
		if _, err := io.ReadFull(in, line[len(line):len(line)+1]); err != nil {
			return errors.Join(errRefused, err)
		}
		line = line[:len(line)+1]
		if line[len(line)-1] == '\n' {
			break
		}
	}
	port, ok := strings.CutPrefix(strings.TrimSuffix(string(line), "\n"), "OK ")
	if _, err := strconv.ParseUint(port, 10, 32); !ok || err != nil || line[len(line)-1] != '\n' {
		return fmt.Errorf("vsock: want \"OK PORT\", got %q", line)
	}
	return nil
}
