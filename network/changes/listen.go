//go:build linux

package changes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Listener hears of changes until it is closed.
type Listener struct {
	conn    *netlink.Conn
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// again is how soon the kernel is asked again when it had something else to say than
// changes.
const again = time.Second

// listen calls heard for the messages of the groups in the calling thread's network
// namespace, and missed when some may not have been heard: the kernel had no room for
// them, or there was another error. It calls one after another. No error ends it, for
// nobody would hear of the next change.
func listen(protocol int, groups []uint32, heard func(netlink.Message), missed func()) (*Listener, error) {
	conn, err := netlink.Dial(protocol, nil)
	if err != nil {
		return nil, fmt.Errorf("listening to changes: %w", err)
	}
	for _, group := range groups {
		if err := conn.JoinGroup(group); err != nil {
			return nil, errors.Join(fmt.Errorf("listening to changes of group %d: %w", group, err), conn.Close())
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Listener{conn: conn, cancel: cancel}
	l.running.Go(func() {
		for {
			messages, err := conn.Receive()
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				drain(conn)
				missed()
			}
			if err != nil && !errors.Is(err, unix.ENOBUFS) {
				pause(ctx) // it may last
			}
			for _, message := range messages {
				heard(message)
			}
		}
	})
	return l, nil
}

// pause ends with the context.
func pause(ctx context.Context) {
	select {
	case <-time.After(again):
	case <-ctx.Done():
	}
}

// drain throws away what the kernel has told. It tells once that it has no room, and
// then nothing more until all is read: what changes after that is heard again.
func drain(conn *netlink.Conn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return // it is closed
	}
	_ = raw.Read(func(fd uintptr) bool {
		for err := error(nil); err == nil || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EINTR); {
			_, _, err = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_DONTWAIT)
		}
		return true
	})
}

// Close ends the listener, and returns when it has ended.
func (l *Listener) Close() error {
	l.cancel() // first: that the connection is closed is an error like others
	err := l.conn.Close()
	l.running.Wait()
	if err != nil {
		return fmt.Errorf("closing a listener to changes: %w", err)
	}
	return nil
}

// attributes are those behind a header of so many bytes; none when the message is
// not what the kernel sends.
func attributes(message netlink.Message, header int) []netlink.Attribute {
	if len(message.Data) < header {
		return nil
	}
	all, err := netlink.UnmarshalAttributes(message.Data[header:])
	if err != nil {
		return nil
	}
	return all
}
