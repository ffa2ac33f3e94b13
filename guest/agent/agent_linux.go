//go:build linux

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
)

// Run finds the agent's port and serves it until ctx ends.
func Run(ctx context.Context, log *slog.Logger) error {
	port, err := openPort(ctx)
	if err != nil {
		return err
	}
	defer port.Close()
	stop := context.AfterFunc(ctx, func() { _ = port.Close() })
	defer stop()
	agent := &Agent{Root: "/", Log: log, Kernel: Linux{}, Ready: notifySystemd}
	return agent.Serve(ctx, port)
}

// notifySystemd says that the service has started, see sd_notify(3). Outside
// systemd there is nobody to tell.
func notifySystemd() error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("reaching systemd: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("READY=1")); err != nil {
		return fmt.Errorf("notifying systemd: %w", err)
	}
	return nil
}
