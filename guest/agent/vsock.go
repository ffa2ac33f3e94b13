//go:build linux

package agent

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// vsockPort is what the agent serves on a machine without a virtio-serial port:
// the connections to a vsock port, one after the other. It behaves like a serial
// port: between two connections Read returns io.EOF.
type vsockPort struct {
	listener *os.File
	// accept waits for a connection, and returns the CID that it comes from.
	accept func(listener syscall.RawConn) (conn *os.File, from uint32, err error)

	mu   sync.Mutex
	conn *os.File
}

// errHostAway says that no host is connected.
var errHostAway = errors.New("no host is connected")

// hasVsock says whether this machine has a vsock device of its own, and not
// merely a kernel that knows vsock.
func hasVsock() bool {
	device, err := os.Open("/dev/vsock")
	if err != nil {
		return false
	}
	defer device.Close()
	cid, err := unix.IoctlGetUint32(int(device.Fd()), unix.IOCTL_VM_SOCKETS_GET_LOCAL_CID)
	return err == nil && cid > unix.VMADDR_CID_HOST && cid != unix.VMADDR_CID_ANY
}

// listenVsock listens on the agent's port.
func listenVsock() (*vsockPort, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("making a vsock socket: %w", err)
	}
	listener := os.NewFile(uintptr(fd), "vsock")
	err = unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: guest.VsockPort})
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening on vsock port %d: %w", guest.VsockPort, err), listener.Close())
	}
	return &vsockPort{listener: listener, accept: acceptVsock}, nil
}

func acceptVsock(listener syscall.RawConn) (conn *os.File, from uint32, err error) {
	var fd int
	var address unix.Sockaddr
	waited := listener.Read(func(listening uintptr) bool {
		fd, address, err = unix.Accept4(int(listening), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return !errors.Is(err, unix.EAGAIN)
	})
	if err := cmp.Or(waited, err); err != nil {
		return nil, 0, err
	}
	if peer, ok := address.(*unix.SockaddrVM); ok {
		from = peer.CID
	}
	return os.NewFile(uintptr(fd), "vsock connection"), from, nil
}

// Read reads from the host that is connected, or waits for one.
func (p *vsockPort) Read(b []byte) (int, error) {
	conn, err := p.host()
	if err != nil {
		return 0, err
	}
	n, err := conn.Read(b)
	if err != nil {
		p.hangUp()
		return n, io.EOF // reset or closed: the host is away
	}
	return n, nil
}

// Write fails while no host is connected.
func (p *vsockPort) Write(b []byte) (int, error) {
	p.mu.Lock()
	conn := p.conn
	p.mu.Unlock()
	if conn == nil {
		return 0, errHostAway
	}
	return conn.Write(b)
}

// host returns the connection that there is, or waits for the next. Only the host
// may talk to the agent. Where the kernel has a vsock loopback, processes of this
// machine reach the port as well; their connections are closed.
func (p *vsockPort) host() (*os.File, error) {
	p.mu.Lock()
	conn := p.conn
	p.mu.Unlock()
	if conn != nil {
		return conn, nil
	}
	listener, err := p.listener.SyscallConn()
	if err != nil {
		return nil, err
	}
	for {
		conn, from, err := p.accept(listener)
		if err != nil {
			return nil, fmt.Errorf("waiting for the host: %w", err)
		}
		if from != unix.VMADDR_CID_HOST {
			_ = conn.Close()
			continue
		}
		p.mu.Lock()
		p.conn = conn
		p.mu.Unlock()
		return conn, nil
	}
}

func (p *vsockPort) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}

// Close ends reads that wait.
func (p *vsockPort) Close() error {
	p.hangUp()
	return p.listener.Close()
}
