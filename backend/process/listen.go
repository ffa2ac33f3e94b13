//go:build linux

package process

import (
	"fmt"
	"net"
	"os"
)

// Listen opens a listening socket for a process to inherit, which can be connected
// to at once, before that process runs, by our own user alone. The socket's file stays
// on disk when the descriptor is closed.
func Listen(path string) (*os.File, error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	listener.SetUnlinkOnClose(false)
	defer listener.Close()
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	file, err := listener.File()
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	return file, nil
}
