//go:build linux

package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/qemu/qmp"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
)

// QMP's commands for migrations.
const (
	migrateOut = "migrate"
	migrateIn  = "migrate-incoming"
)

// Save saves the machine's state to a file, and ends QEMU. The limit on how fast
// that goes is for migrations over a network.
func (m *machine) Save(ctx context.Context) error {
	state, err := os.OpenFile(m.spec.State, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if diskspace.IsFull(err) {
		return fmt.Errorf("%w: %w", backend.ErrRunsOn, err)
	}
	if err != nil {
		return err
	}
	defer state.Close()
	unlimited := map[string]any{"max-bandwidth": int64(math.MaxInt64)}
	if err := m.qmp.Execute(ctx, "migrate-set-parameters", unlimited, nil); err != nil {
		return err
	}
	err = m.migrate(ctx, migrateOut, state)
	if err == nil {
		err = state.Sync() // some file systems find out only now that there is no room
	}
	if err = diskspace.Suspect(filepath.Dir(m.spec.State), err); diskspace.IsFull(err) {
		return m.runOn(ctx, err)
	}
	if err != nil {
		return err
	}
	return m.quit(ctx)
}

// runOn has a machine run again that could not be saved for want of room.
func (m *machine) runOn(ctx context.Context, reason error) error {
	if err := errors.Join(os.Remove(m.spec.State), m.Continue(ctx)); err != nil {
		return errors.Join(reason, err)
	}
	return fmt.Errorf("%w: %w", backend.ErrRunsOn, reason)
}

// quit ends QEMU in order, so that its disk is whole. Its end may be known
// before its answer, by the connection or by ctx: only how it ended counts then.
func (m *machine) quit(ctx context.Context) error {
	var refused *qmp.Error
	if err := m.qmp.Execute(ctx, "quit", nil, nil); errors.As(err, &refused) {
		return err
	}
	<-ctx.Done() // ends with the machine
	if err := m.process.Err(); !errors.Is(err, process.ErrSucceeded) {
		return fmt.Errorf("saving the machine: QEMU %w", errors.Join(err, context.Cause(ctx)))
	}
	return nil
}

// Restore reaches the machine, which waits for its state, and restores that from
// a file.
func (m *machine) Restore(ctx context.Context, path string) error {
	state, err := os.Open(path)
	if err != nil {
		return err
	}
	defer state.Close()
	if err := m.reach(ctx); err != nil {
		return err
	}
	if err := m.migrate(ctx, migrateIn, state); err != nil || path != m.spec.State {
		return err
	}
	return os.Remove(path)
}

// Continue lets the machine's processors run.
func (m *machine) Continue(ctx context.Context) error { return m.qmp.Execute(ctx, "cont", nil, nil) }

// migrate saves or restores the machine's state, whichever the command says.
// Memory that lies in a file is left out: that file is there already.
func (m *machine) migrate(ctx context.Context, command string, state *os.File) error {
	type capability struct {
		Name  string `json:"capability"`
		State bool   `json:"state"`
	}
	capabilities := map[string]any{"capabilities": []capability{{"x-ignore-shared", true}, {"events", true}}}
	if err := m.qmp.Execute(ctx, "migrate-set-capabilities", capabilities, nil); err != nil {
		return err
	}
	if command == migrateOut {
		if err := m.qmp.Execute(ctx, "stop", nil, nil); err != nil {
			return err
		}
	}
	const name = "state"
	if err := m.qmp.Pass(ctx, name, state); err != nil {
		return err
	}
	if err := m.qmp.Execute(ctx, command, map[string]any{"uri": "fd:" + name}, nil); err != nil {
		return err
	}
	select {
	case status := <-m.migrated:
		if status != "completed" {
			return m.whyNotMigrated(ctx, command, status)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("QMP %s: %w", command, context.Cause(ctx))
	}
}

// whyNotMigrated asks QEMU for the reason, which the event does not tell.
func (m *machine) whyNotMigrated(ctx context.Context, command, status string) error {
	var answer struct {
		Reason string `json:"error-desc"`
	}
	if m.qmp.Execute(ctx, "query-migrate", nil, &answer) != nil || answer.Reason == "" {
		return fmt.Errorf("QMP %s: %s", command, status)
	}
	if full := diskspace.Heard(answer.Reason); full != nil {
		return fmt.Errorf("QMP %s: %s: %w", command, status, full)
	}
	return fmt.Errorf("QMP %s: %s: %s", command, status, answer.Reason)
}

// noteMigration tells migrate about the end of a migration.
func (m *machine) noteMigration(event qmp.Event) {
	var data struct{ Status string }
	if json.Unmarshal(event.Data, &data) != nil {
		return
	}
	switch data.Status {
	case "completed", "failed", "cancelled":
		select {
		case m.migrated <- data.Status:
		default: // nobody waits, and one answer is enough
		}
	}
}
