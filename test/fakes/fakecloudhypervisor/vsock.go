//go:build linux

package fakecloudhypervisor

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
)

const (
	// agentPort is where the guest's agent would listen on vsock.
	agentPort = 700
	// deaf is how many connections are refused at first, as they are while no
	// agent listens yet.
	deaf = 3
	// longestCommand is what the real program reads at most.
	longestCommand = 32
)

// relay plays the hybrid vsock socket in front of the agent's virtio-serial
// port, which takes one connection at a time.
func (v *vmm) relay(path, agent string) error {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("binding the vsock socket: %w", err)
	}
	var one sync.Mutex
	go func() {
		for n := 0; ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if in, port := readConnect(conn); port == agentPort && n >= deaf {
					one.Lock()
					defer one.Unlock()
					join(conn, in, agent)
				}
			}()
		}
	}()
	return nil
}

// readConnect reads "CONNECT <port>\n"; the port is 0 for anything else.
func readConnect(conn net.Conn) (*bufio.Reader, int) {
	in := bufio.NewReaderSize(conn, longestCommand)
	line, err := in.ReadString('\n')
	text, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "CONNECT ")
	port, wrong := strconv.Atoi(text)
	if err != nil || !ok || wrong != nil || len(line) > longestCommand {
		return in, 0
	}
	return in, port
}

// join answers and connects the two ends until one of them hangs up.
func join(conn net.Conn, in io.Reader, agent string) {
	inside, err := net.Dial("unix", agent)
	if err != nil {
		return
	}
	defer inside.Close()
	if _, err := conn.Write([]byte("OK 1073741824\n")); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(inside, in)
		_ = inside.Close()
	}()
	_, _ = io.Copy(conn, inside)
}
