//go:build linux

package changes

import (
	"errors"
	"fmt"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Listener hears of changes until it is closed.
type Listener struct {
	conn    *netlink.Conn
	running sync.WaitGroup
}

// listen calls heard for the messages of the groups in the calling thread's network
// namespace, and missed when the kernel had no room for some. It calls one after
// another.
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
	l := &Listener{conn: conn}
	l.running.Go(func() {
		for {
			messages, err := conn.Receive()
			switch {
			case errors.Is(err, unix.ENOBUFS):
				drain(conn)
				missed()
			case err != nil:
				return // it is closed
			}
			for _, message := range messages {
				heard(message)
			}
		}
	})
	return l, nil
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
