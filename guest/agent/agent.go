//go:build linux

package agent

import (
	"context"
	"log/slog"
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
	agent := &Agent{Root: "/", Log: log, Kernel: Linux{}, Ready: func() error { return openSSH(ctx, log) }}
	if hasIdentity() {
		if err := agent.Ready(); err != nil {
			return err
		}
	}
	return agent.Serve(ctx, port)
}
