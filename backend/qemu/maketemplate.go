//go:build linux

package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/qemu/qmp"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// templateLimit bounds the boot of a template.
const templateLimit = 10 * time.Minute

// settle waits until the guest has nothing left to start, though not for ever,
// and reads what a fork needs first into its memory.
const settle = `n=0; while [ $n -lt 300 ] && systemctl list-jobs --no-legend --no-pager | grep -q .; do sleep 0.5; n=$((n+1)); done
cat /usr/sbin/sshd /usr/lib/openssh/* /usr/lib/*/security/* /bin/bash /bin/sh /usr/bin/sudo /usr/bin/git >/dev/null 2>&1
/usr/sbin/sshd -V >/dev/null 2>&1
su -l nobody -s /bin/bash -c true >/dev/null 2>&1
sync`

// makeTemplate boots the golden image, lets it come to rest, and saves it.
func (b *Backend) makeTemplate(ctx context.Context, golden image.Golden, wanted basis, progress image.Progress) (err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, templateLimit, fmt.Errorf("not done within %s", templateLimit))
	defer cancel()
	work, err := os.MkdirTemp(b.options.TemplatesDir, ".making-")
	if err != nil {
		return err
	}
	t := template{dir: work, Basis: wanted}
	method, err := disk.Clone(ctx, golden.Disk(), t.disk())
	if err != nil {
		return fmt.Errorf("cloning the golden disk: %w", err)
	}
	t.Format = method.Format()
	progress("template", "")
	if err := b.bootAndSave(ctx, t, golden); err != nil {
		return err
	}
	t.MadeAt, t.MadeSeconds = time.Now().UTC().Truncate(time.Second), time.Since(began).Seconds()
	if err := t.write(); err != nil {
		return err
	}
	final := filepath.Join(b.options.TemplatesDir, wanted.key())
	return errors.Join(os.RemoveAll(final), os.Rename(work, final)) // one that is there was discarded
}

func (t template) write() error {
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(t.dir, templateFile), append(text, '\n'), 0o600)
}

// bootAndSave has an id, a lease and a directory like a worker's, as a prebuild
// has, so that nothing of it outlives a crash.
func (b *Backend) bootAndSave(ctx context.Context, t template, golden image.Golden) (err error) {
	state, err := os.OpenFile(t.state(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer state.Close()
	spec := t.machine(golden)
	spec.MemoryUse = written
	id := workerid.Derived(b.options.Pool, "template "+t.Basis.key())
	return b.asWorker(ctx, id, func(dir string, lease network.Lease) error {
		spec.Console = filepath.Join(dir, consoleFile)
		m, err := b.launch(id, dir, lease.Namespace, spec)
		if err != nil {
			return err
		}
		return m.explain(m.save(ctx, b.settle, state))
	})
}

// machine is the part of the command line that a template and its forks must
// have in common.
func (t template) machine(golden image.Golden) machineSpec {
	return machineSpec{
		Accel: t.Basis.Accel, CPUs: t.Basis.Size.CPUs, Memory: t.Basis.Size.Memory,
		Kernel: golden.Kernel(), Initrd: golden.Initrd(), Root: golden.Root,
		Disk: t.disk(), Format: t.Format, MemoryFile: t.memory(), Network: true,
	}
}

// save lets the guest come to rest and saves it. The agent goes on waiting for
// a host: its line is broken off before, so that each fork finds it unused.
func (m *machine) save(ctx context.Context, settle string, state *os.File) error {
	ctx, cancel := m.whileRunning(ctx)
	defer cancel()
	agent, err := m.reach(ctx)
	if err != nil {
		return err
	}
	err = guest.NewClient(agent).Run(ctx, settle, io.Discard)
	if err := errors.Join(err, agent.Close()); err != nil {
		return fmt.Errorf("waiting until the guest is at rest: %w", err)
	}
	if err := m.migrate(ctx, save, state); err != nil {
		return err
	}
	return m.quit(ctx)
}

// quit ends QEMU in order, so that its disk is whole.
func (m *machine) quit(ctx context.Context) error {
	if err := m.qmp.Execute(ctx, "quit", nil, nil); err != nil && !errors.Is(err, qmp.ErrClosed) {
		return err
	}
	<-ctx.Done() // ends with the machine
	if err := m.process.Err(); !errors.Is(err, process.ErrSucceeded) {
		return fmt.Errorf("saving the machine: QEMU %w", errors.Join(err, context.Cause(ctx)))
	}
	return nil
}
