package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"gitlab.com/gitlab-org/fleeting/fleeting/plugin"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider"
)

const (
	// reapLimit bounds the removal of the workers when the runner has ended or no
	// longer waits for the plugin. The next plugin process removes the rest.
	reapLimit = time.Minute
	// parentInterval is how often we look whether the runner still lives.
	parentInterval = 500 * time.Millisecond
)

// parent is asked for before anything else happens: later it might be the process
// that has taken the place of a runner that died.
var parent = os.Getppid()

type serveCommand struct{}

// Run serves the plugin until the runner closes the connection or dies. By hand it fails,
// with the library's explanation of what a plugin is.
func (serveCommand) Run(h *host.Host) error {
	// Made before the library puts pipes in the place of stdout and stderr,
	// since only lines of this form reach the runner's log.
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: os.Stderr, JSONFormat: true})
	group := provider.New(versionInfo(), h)
	outliveSignals(log)
	sockets := ownSocketDir(log)
	go func() {
		for os.Getppid() == parent { // else it has died, and another process has taken its place
			time.Sleep(parentInterval)
		}
		log.Warn("the runner is gone: removing all workers")
		sockets.remove(log)
		reap(group, log)
		os.Exit(exitFailure)
	}()
	plugin.Serve(group)
	sockets.remove(log) // first, since the runner kills a plugin that takes long to end
	reap(group, log)    // the runner need not have called Shutdown
	return nil
}

// outliveSignals keeps signals from ending the plugin: SIGTERM and SIGQUIT, which a
// service manager sends to the whole process group when it stops the runner,
// because the runner lets its jobs finish first and then ends the plugin itself;
// SIGHUP, by which the runner reloads its configuration; SIGPIPE, which the next
// log line would cause when the runner is dead, before the workers are removed.
//
// The signals are caught, not ignored, because a child process inherits what is
// ignored.
func outliveSignals(log hclog.Logger) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	go func() {
		for received := range signals {
			log.Info("signal received; the plugin ends when the runner does", "signal", received.String())
		}
	}()
}

// reap removes all workers, unless that was done.
func reap(group *provider.InstanceGroup, log hclog.Logger) {
	if err := group.Reap(reapLimit); err != nil {
		log.Error("removing all workers failed", "err", err)
	}
}

type guestCommand struct{}

// Run is there for the help text: main knows the guest before the command line
// is read.
func (guestCommand) Run() error {
	os.Exit(beGuest())
	return nil
}
