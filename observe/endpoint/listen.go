package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// listen listens where the settings say. It may be done only by who holds the endpoint's
// lock: a socket that a killed process left is replaced.
func listen(ctx context.Context, m config.Metrics) (net.Listener, error) {
	if m.Socket() {
		return listenOnSocket(ctx, m.Listen)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", m.Listen)
	if err != nil {
		return nil, fmt.Errorf("listening for metrics: %w: set metrics.listen to another address", err)
	}
	return listener, nil
}

// socket is a unix socket that is removed when it is closed.
type socket struct {
	net.Listener
	path string
}

func (s socket) Close() error { return errors.Join(s.Listener.Close(), os.Remove(s.path)) }

// listenOnSocket has a socket at a path that only its owner may connect to. It gets its
// name when it has its mode: nobody finds it open to others.
func listenOnSocket(ctx context.Context, path string) (net.Listener, error) {
	fail := func(err error) (net.Listener, error) {
		return nil, fmt.Errorf("listening for metrics on %s: %w: set metrics.listen to another path", path, err)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return fail(errors.New("what is there is no socket"))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fail(err)
	}
	young := fmt.Sprintf("%s.%08x", path, os.Getpid())
	if err := os.Remove(young); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", young)
	if err != nil {
		return fail(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false) // by the name that it has then no more
	err = os.Chmod(young, 0o600)
	if err == nil {
		err = os.Rename(young, path)
	}
	if err != nil {
		return fail(errors.Join(err, listener.Close(), os.Remove(young)))
	}
	return socket{listener, path}, nil
}
