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

// portWait bounds the wait for the agent's port.
const portWait = time.Minute

// errNoPort says that this machine has no port for the agent.
var errNoPort = errors.New("no virtio-serial port named " + guest.PortName + ", and no vsock device")

// openPort opens the agent's port as soon as it is there. A virtual machine has
// either a virtio-serial port of that name or a vsock device; in a container,
// where the host starts the agent, the port is a socket on standard input. It
// reads sysfs, not the names that udev makes, so that it need not wait for udev.
func openPort(ctx context.Context) (io.ReadWriteCloser, error) {
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&os.ModeSocket != 0 {
		return os.Stdin, nil
	}
	// The initial RAM disk or udev loads the drivers. Where neither has done so
	// yet, this shortens the wait.
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
		if err == nil && strings.TrimSpace(string(text)) == guest.PortName {
			return filepath.Join("/dev", filepath.Base(filepath.Dir(name))), nil
		}
	}
	return "", errNoPort
}
