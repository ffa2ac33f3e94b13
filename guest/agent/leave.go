//go:build linux

package agent

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// LeaveNetwork also takes the address away: it is what the network manager of a guest,
// if it has one, does not put back by itself.
func (linux) LeaveNetwork() error {
	if err := endConnections(); err != nil {
		return err
	}
	link, err := guestLink()
	if err != nil {
		return err
	}
	name := link.Attrs().Name
	if err := netlink.LinkSetDown(link); err != nil {
		return fmt.Errorf("setting %s down: %w", name, err)
	}
	address := &netlink.Addr{IPNet: ipNet(network.Guest)}
	if err := netlink.AddrDel(link, address); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("removing %s from %s: %w", network.Guest, name, err)
	}
	return nil
}

// endConnections ends the TCP connections that lead out of this machine. All forks
// would have one of them, with the keys of its encryption and the next bytes of both
// directions.
func endConnections() error {
	open, err := outward()
	if err != nil {
		return err
	}
	var failed error
	for _, c := range open { // one whose other end is here may have ended with that
		failed = errors.Join(failed, netlink.SocketDestroy(c.local, c.remote))
	}
	if open, err = outward(); err != nil || len(open) == 0 {
		return err
	}
	return errors.Join(fmt.Errorf("every fork would have the connection to %s, and this kernel does not end it: "+
		"have a step end what holds it", open[0].remote), failed)
}

// connection is one of TCP.
type connection struct{ local, remote *net.TCPAddr }

// outward are the connections over IPv4 that do not end in this machine. Those that
// only wait to be forgotten are left to the kernel.
func outward() (open []connection, err error) {
	for _, table := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		file, err := os.Open(table)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		defer file.Close()
		for rows := bufio.NewScanner(file); rows.Scan(); {
			if c, ok := parseConnection(rows.Text()); ok {
				open = append(open, c)
			}
		}
	}
	return open, nil
}

// Connections in these states belong to no process any more, or have not begun:
// FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE, LAST_ACK, LISTEN and CLOSING of the kernel's
// tcp_states.h.
var quiet = map[string]bool{"04": true, "05": true, "06": true, "07": true, "09": true, "0A": true, "0B": true}

// parseConnection reads a row of /proc/net/tcp or tcp6: number, local address, remote
// address, state.
func parseConnection(row string) (c connection, outward bool) {
	fields := strings.Fields(row)
	if len(fields) < 4 || quiet[fields[3]] {
		return c, false
	}
	c.local, c.remote = parseEnd(fields[1]), parseEnd(fields[2])
	return c, c.local != nil && c.remote != nil && !c.remote.IP.IsLoopback() && !c.remote.IP.Equal(c.local.IP)
}

// parseEnd reads an address of IPv4, or one of IPv6 that stands for one, and its port:
// words of 32 bits as this machine has them in memory, in hexadecimal.
func parseEnd(text string) *net.TCPAddr {
	host, port, _ := strings.Cut(text, ":")
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return nil
	}
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw)%4 != 0 {
		return nil
	}
	ip := make(net.IP, len(raw))
	for word := 0; word < len(raw); word += 4 {
		binary.NativeEndian.PutUint32(ip[word:], binary.BigEndian.Uint32(raw[word:]))
	}
	if ip.To4() == nil {
		return nil
	}
	return &net.TCPAddr{IP: ip.To4(), Port: int(number)}
}
