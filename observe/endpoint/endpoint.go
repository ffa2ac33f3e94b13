// Package endpoint serves what is known of a host's pools: metrics and the page. Each
// pool has a plugin process of its own, and one of them serves for all: the one that
// holds a lock in the state directory. When it ends, the kernel drops the lock, and
// another one goes on. What is shown is decided in the folders beside this one.
package endpoint

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/net/netutil"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe/metrics"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// takeOver is how often a process that does not serve looks whether it is to.
const takeOver = time.Second

// Bounds of what clients may take.
const (
	mostConnections = 64
	mostHeaders     = 16 << 10 // bytes
	headerLimit     = 5 * time.Second
	requestLimit    = 10 * time.Second
	answerLimit     = 30 * time.Second
	idleLimit       = time.Minute
	// farewell is how long answers under way may take when the process ends.
	farewell = time.Second
)

// Run serves, or stands by to, until ctx ends. What keeps it from serving is logged, once
// for each reason, and tried again: no job waits for who only looks.
func Run(ctx context.Context, h *host.Host, c config.Config, log *slog.Logger) {
	if c.Metrics.Listen == "" {
		return
	}
	told := ""
	for ctx.Err() == nil {
		err := serve(ctx, h, c, log)
		if err != nil && err.Error() != told {
			log.Error("metrics are not served; it is tried again", "err", err)
		}
		told = ""
		if err != nil {
			told = err.Error()
		}
		select {
		case <-ctx.Done():
		case <-time.After(takeOver):
		}
	}
}

// serve returns at once when another process serves, and else when ctx ends.
func serve(ctx context.Context, h *host.Host, c config.Config, log *slog.Logger) (err error) {
	path := lockPath(c)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("making the directory of the lock of metrics: %w", err)
	}
	lock, err := filelock.TryAcquire(path)
	if err != nil || lock == nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	token := ""
	if c.Metrics.TokenFile != "" {
		if token, err = readToken(c.Metrics.TokenFile); err != nil {
			return err
		}
	}
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("finding this host's name: %w", err)
	}
	listener, err := listen(ctx, c.Metrics)
	if err != nil {
		return err
	}
	collector := metrics.New(hostname)
	watch := observe.NewWatch(h, c, log, collector)
	collector.ReadFrom(watch.Look)
	registry, err := metrics.Registry(collector)
	if err == nil {
		_, err = watch.Look(ctx) // what happens from now on is counted
	}
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	log.Info("metrics of all pools are served", "listen", c.Metrics.Listen)
	return serveOn(ctx, listener, handler(watch, registry, token), log)
}

// serveOn answers until ctx ends.
func serveOn(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler: handler, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		MaxHeaderBytes:    mostHeaders,
		ReadHeaderTimeout: headerLimit, ReadTimeout: requestLimit, WriteTimeout: answerLimit, IdleTimeout: idleLimit,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(netutil.LimitListener(listener, mostConnections)) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving metrics: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	err := server.Shutdown(last)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	<-ended
	return err
}

// lockPath is that of the lock of one endpoint, whose name may be too long for a file.
func lockPath(c config.Config) string {
	name := sha256.Sum256([]byte(c.Metrics.Listen))
	return filepath.Join(c.StateDir, "endpoints", fmt.Sprintf("%x.lock", name[:8]))
}
