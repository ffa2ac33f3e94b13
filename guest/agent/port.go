//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

const (
	portLabel = guest.PortName
	portWait  = time.Minute
)

// errNoPort says that this machine has no port for the agent.
var errNoPort = errors.New("no virtio-serial port named " + portLabel + ", and no vsock device")

// openPort opens the agent's port as soon as it is there: a machine has either
// a virtio-serial port of that name or a vsock device. It reads sysfs, not the
// names that udev makes, so that it need not wait for udev. A host that started
// the agent itself, in a container, made its standard input a socket.
func openPort(ctx context.Context) (io.ReadWriteCloser, error) {
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&os.ModeSocket != 0 {
		return os.Stdin, nil
	}
	// The drivers are loaded by the initial RAM disk or by udev; asking for
	// them as well costs nothing, and shortens the wait where neither has yet.
	_ = exec.CommandContext(ctx, "modprobe", "-qa", "virtio_console", "vmw_vsock_virtio_transport").Run()

	ctx, cancel := context.WithTimeout(ctx, portWait)
	defer cancel()
	for {
		port, err := findPort("/sys/class/virtio-ports")
		if err == nil {
			return os.OpenFile(port, os.O_RDWR, 0)
		}
		if errors.Is(err, errNoPort) && hasVsock() {
			return listenVsock()
		}
		if !errors.Is(err, errNoPort) || ctx.Err() != nil {
			return nil, fmt.Errorf("opening the agent's port: %w", err)
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

// findPort returns the device of the port that the host named for us.
func findPort(class string) (string, error) {
	names, err := filepath.Glob(filepath.Join(class, "*", "name"))
	if err != nil {
		return "", err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err == nil && strings.TrimSpace(string(text)) == portLabel {
			return filepath.Join("/dev", filepath.Base(filepath.Dir(name))), nil
		}
	}
	return "", errNoPort
}
