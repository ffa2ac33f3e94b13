//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	fleetingprovider "gitlab.com/gitlab-org/fleeting/fleeting/provider"
	"golang.org/x/sync/errgroup"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/cloudinit/seed"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/island"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/phase"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// oldWay makes workers as fleetingd does: a seed volume of its own and a full
// copy of the disk for each, one worker after the other under one lock, then a
// boot in which cloud-init sets user, key and host key. The disk and the network
// card are what QEMU gives who asks for no more. All else of the machine, network,
// image and the first login are the same as everywhere else.
type oldWay struct {
	pool    string
	disk    string // what is copied
	command []string
	user    string
	network *island.Island
	store   *store.Store

	lock sync.Mutex // fleetingd's: seed, copy and start of one worker at a time

	mu   sync.Mutex // guards made
	made map[string]*process.Process
}

// oldLimit bounds one start: eight boots by emulation on two cores take
// minutes.
const oldLimit = 15 * time.Minute

// addOldWay sets it up beside the plugins, in a pool of its own.
func (b *bench) addOldWay(ctx context.Context, s *stage) (*oldWay, error) {
	b.say("a disk for the old way")
	c := s.config
	c.Pool = poolOf[report.Old]
	records, err := store.Open(c.PoolDir())
	if err != nil {
		return nil, err
	}
	unlock, err := records.Lock(ctx)
	if err != nil {
		return nil, err
	}
	b.later(func(context.Context) error { return unlock() })
	leases, err := island.New(island.Options{
		PoolDir: c.PoolDir(), Pool: c.Pool, AddressDir: c.AddressDir(), Subnet: c.Network.Subnet,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	b.later(leases.Close)
	if err := leases.Open(ctx); err != nil {
		return nil, err
	}
	unsealed, err := unsealedDisk(ctx, s.golden.Disk(), b.work)
	if err != nil {
		return nil, err
	}
	old := &oldWay{
		pool: c.Pool, disk: unsealed, command: s.command, user: s.golden.Recipe.User,
		network: leases, store: records, made: make(map[string]*process.Process),
	}
	b.later(func(context.Context) error { return os.Remove(unsealed) })
	b.later(old.remove)
	return old, nil
}

func (o *oldWay) name() string { return report.Old }

func (o *oldWay) start(ctx context.Context, n int) ([]worker, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, oldLimit, fmt.Errorf("not ready within %s", oldLimit))
	defer cancel()
	workers := make([]worker, n)
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range workers {
		group.Go(func() (err error) {
			workers[i], err = o.startOne(ctx, began)
			return err
		})
	}
	return workers, group.Wait()
}

func (o *oldWay) startOne(ctx context.Context, began time.Time) (worker, error) {
	id := workerid.New(o.pool)
	dir, err := o.store.Reserve(id)
	if err != nil {
		return worker{}, err
	}
	o.note(id, nil)
	lease, err := o.network.Acquire(ctx, id)
	if err != nil {
		return worker{}, err
	}
	identity, key, err := access.SSH{}.New(id, o.user)
	if err != nil {
		return worker{}, err
	}
	machine, err := o.boot(ctx, id, dir, lease, volume(identity))
	if err != nil {
		return worker{}, fmt.Errorf("starting %s: %w", id, err)
	}
	var shaken time.Time // when the handshake of the login that works was done
	ctx = phase.With(ctx, phase.Parts(func(part string) {
		if part == access.PhaseAuthentication {
			shaken = time.Now()
		}
	}))
	if err := ready(ctx, machine, func(ctx context.Context) error {
		return access.SSH{}.Ready(ctx, lease.SSH(), identity, key)
	}); err != nil {
		return worker{}, fmt.Errorf("waiting for %s: %w", id, err)
	}
	info := connectInfo(id, o.user, lease.SSH(), key)
	return worker{
		id: id, dir: dir, address: lease.SSH(), ready: seconds(shaken.Sub(began)),
		run: func(ctx context.Context, script string) (string, error) { return runner.RunJob(ctx, info, script) },
	}, nil
}

// connectInfo is how a job gets into a worker of the old way.
func connectInfo(id, user string, address netip.AddrPort, key pool.Key) fleetingprovider.ConnectInfo {
	return fleetingprovider.ConnectInfo{
		ID: id, InternalAddr: address.String(), ExternalAddr: address.String(),
		ConnectorConfig: fleetingprovider.ConnectorConfig{
			OS: "linux", Arch: runtime.GOARCH, Protocol: fleetingprovider.ProtocolSSH,
			ProtocolPort: int(address.Port()), Username: user, Key: []byte(key),
			Timeout: undoLimit, Keepalive: undoLimit,
		},
	}
}

// boot is what fleetingd does under its lock.
func (o *oldWay) boot(
	ctx context.Context, id, dir string, lease network.Lease, volume seed.Volume,
) (*process.Process, error) {
	o.lock.Lock()
	defer o.lock.Unlock()
	command, files := in(o.command, dir), in([]string{seedWord, diskWord}, dir)
	if err := seed.Write(files[0], volume); err != nil {
		return nil, err
	}
	if err := disk.SparseCopy(ctx, o.disk, files[1]); err != nil {
		return nil, err
	}
	sockets, err := inherited(dir)
	defer func() {
		for _, socket := range sockets {
			_ = socket.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	machine, err := process.Start(process.InScope(process.Command{
		Path: command[0], Arguments: command[1:], Namespace: lease.Namespace,
		Files: sockets, Output: filepath.Join(dir, "qemu.log"),
	}, "mayfly-"+id))
	if err == nil {
		o.note(id, machine)
	}
	return machine, err
}

// inherited are the sockets that the command line of a clone expects to be
// open: one for the agent, one for QMP. Nobody talks there.
func inherited(dir string) ([]*os.File, error) {
	var files []*os.File
	for _, name := range []string{"agent.sock", "qmp.sock"} {
		file, err := process.Listen(filepath.Join(dir, name))
		if err != nil {
			return files, err
		}
		files = append(files, file)
	}
	return files, nil
}

// ready waits for a login, but not to a machine that has ended.
func ready(ctx context.Context, machine *process.Process, login func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-machine.Done():
			cancel(fmt.Errorf("its machine has ended: %w", machine.Err()))
		case <-ctx.Done():
		}
	}()
	return login(ctx)
}

func (o *oldWay) note(id string, machine *process.Process) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.made[id] = machine
}

// remove takes everything away of all that were begun.
func (o *oldWay) remove(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var failed []error
	for id, machine := range o.made {
		var killed error
		if machine != nil {
			killed = machine.Kill(ctx)
		}
		err := errors.Join(killed, o.network.Release(ctx, id), o.store.Remove(id))
		if err == nil {
			delete(o.made, id)
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}
