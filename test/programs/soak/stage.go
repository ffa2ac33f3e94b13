//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/island"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/inventory"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// hello is what somebody in the internet says to whoever gets there.
const hello = "hello from outside"

// diskSize is that of the state directory's file system; what nobody writes takes
// no room.
const diskSize = 8 << 30

// stage is where the plugins run.
type stage struct {
	options
	work  string // removed in the end
	log   *log
	host  inventory.Host
	pools []*pool
	// disk has the state directory, where there is root.
	disk   sandbox.Volume
	closes []func() error
}

func setUp(ctx context.Context, o options) (_ *stage, err error) {
	work, err := os.MkdirTemp("", "mf-soak-") // short: it holds sockets
	if err != nil {
		return nil, err
	}
	if work, err = filepath.EvalSymlinks(work); err != nil {
		return nil, err
	}
	s := &stage{options: o, work: work}
	s.host = inventory.Host{
		StateDir: filepath.Join(work, "s"), Temporary: filepath.Join(work, "t"), Plugin: s.isPlugin,
	}
	s.later(func() error { return os.RemoveAll(work) })
	if s.log, err = openLog(o.logFile); err != nil {
		return nil, errors.Join(err, s.tearDown())
	}
	s.later(s.log.Close)
	s.later(s.endOrphans)
	if err := s.furnish(ctx); err != nil {
		return nil, errors.Join(err, s.tearDown())
	}
	return s, nil
}

// endOrphans kills the processes that a failure has left.
func (s *stage) endOrphans() error {
	things, err := inventory.Look(s.host)
	for _, thing := range things {
		var pid int
		if _, scanned := fmt.Sscan(thing.Name, &pid); thing.Kind == inventory.Process && scanned == nil {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
	}
	return err
}

func (s *stage) later(undo func() error) { s.closes = append(s.closes, undo) }

func (s *stage) tearDown() error {
	var errs []error
	for len(s.closes) > 0 {
		last := len(s.closes) - 1
		errs = append(errs, s.closes[last]())
		s.closes = s.closes[:last]
	}
	return errors.Join(errs...)
}

func (s *stage) furnish(ctx context.Context) error {
	for _, dir := range []string{s.host.StateDir, s.host.Temporary} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	if s.root {
		if err := errors.Join(s.mountDisk(), s.makeNetwork()); err != nil {
			return err
		}
	}
	if s.plugin == "" {
		var err error
		if s.plugin, err = testrun.Build(filepath.Join(s.work, "built")); err != nil {
			return err
		}
	}
	if err := s.buildImages(ctx); err != nil {
		return err
	}
	if err := os.Setenv("TMPDIR", s.host.Temporary); err != nil { // for the plugins
		return err
	}
	return s.makePools()
}

// mountDisk gives the state directory a file system of its own, that can be filled.
func (s *stage) mountDisk() (err error) {
	if s.disk, err = sandbox.NewVolume(filepath.Join(s.work, "disk"), s.host.StateDir, diskSize); err != nil {
		return err
	}
	s.later(s.disk.Unmount)
	return nil
}

// makeNetwork also answers in the internet until tearDown.
func (s *stage) makeNetwork() error {
	remove, err := sandbox.MakeInternet()
	if err != nil {
		return err
	}
	s.later(remove)
	var listener net.Listener
	err = island.Do(sandbox.InternetNamespace, func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(sandbox.Internet, "7"))
		return err
	})
	if err != nil {
		return err
	}
	s.later(listener.Close)
	go func() {
		for {
			visitor, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = visitor.Write([]byte(hello + "\n"))
			_ = visitor.Close()
		}
	}()
	return nil
}

// buildImages builds the golden images of machines on the machine's own disk, and
// copies them to the small one.
func (s *stage) buildImages(ctx context.Context) error {
	images := s.images
	if images == "" {
		images = filepath.Join(s.work, "i")
	}
	for _, backend := range s.backends {
		if backend == "synthetic" {
			continue
		}
		say("golden image for %s: built, unless it is there", backend)
		digest, err := s.buildImage(ctx, backend, images)
		if err != nil {
			return err
		}
		const copyImage = `mkdir -p "$2"/images && cp -a --sparse=always "$1/images/$3" "$2"/images/`
		err = errors.Join(shell(copyImage, images, s.host.StateDir, digest), s.hold(digest))
		if err != nil {
			return err
		}
	}
	return nil
}

// hold keeps plugins that make room on a full disk from removing an image that
// another, which is down, is going to use.
func (s *stage) hold(digest string) error {
	dir, err := os.Open(filepath.Join(s.host.StateDir, "images", digest))
	if err != nil {
		return err
	}
	s.later(dir.Close)
	return unix.Flock(int(dir.Fd()), unix.LOCK_SH)
}

func (s *stage) buildImage(ctx context.Context, backend, images string) (digest string, err error) {
	config := filepath.Join(s.work, backend+".toml")
	if err := os.WriteFile(config, []byte(runnerConfig(backend)), 0o600); err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, s.plugin, "image", "build", "--config", config, "--state-dir", images)
	build.Env = testrun.Environment()
	build.Stderr = s.log
	build.Cancel = func() error { return build.Process.Signal(os.Interrupt) } // it ends what it has started
	printed, err := build.Output()
	if err != nil {
		return "", fmt.Errorf("building the image for %s: %w\n%s", backend, err, s.log.tail())
	}
	return strings.TrimSpace(string(printed)), nil
}

// isPlugin says whether a program is the plugin of one of the pools.
func (s *stage) isPlugin(program string) bool {
	return slices.ContainsFunc(s.pools, func(p *pool) bool { return p.program == program })
}

// makePools makes a pool for each backend, with a name that no other has on this
// machine, and starts its plugin.
func (s *stage) makePools() error {
	run := rand.Uint32() // not of the seed: two runs with the same one may meet
	for _, backend := range s.backends {
		name := fmt.Sprintf("%s%08x", backend[:2], run)
		p, err := newPool(s, name, backend)
		if err != nil {
			return err
		}
		s.later(p.abandon)
		s.pools = append(s.pools, p)
		s.host.Pools = append(s.host.Pools, name)
	}
	return nil
}

// start starts the plugins of all pools, and waits for their templates: a plugin
// that is killed while it makes one begins anew.
func (s *stage) start(ctx context.Context) error {
	for _, p := range s.pools {
		if err := p.start(ctx); err != nil {
			return err
		}
		if err := p.awaitTemplate(ctx); err != nil {
			return err
		}
	}
	return nil
}

// shell runs a script with arguments.
func shell(script string, arguments ...string) error {
	out, err := exec.Command("sh", append([]string{"-ec", script, "sh"}, arguments...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
