//go:build linux

package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/qemu/qmp"
)

// QMP's commands for migrations.
const (
	save    = "migrate"
	restore = "migrate-incoming"
)

// migrate saves the machine's state to a file, or restores it from one,
// whichever the command says. Memory that lies in a file is left out: that file
// is there already.
func (m *machine) migrate(ctx context.Context, command string, state *os.File) error {
	type capability struct {
		Name  string `json:"capability"`
		State bool   `json:"state"`
	}
	capabilities := map[string]any{"capabilities": []capability{{"x-ignore-shared", true}, {"events", true}}}
	if err := m.qmp.Execute(ctx, "migrate-set-capabilities", capabilities, nil); err != nil {
		return err
	}
	if command == save {
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
			return fmt.Errorf("QMP %s: %s", command, status)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("QMP %s: %w", command, context.Cause(ctx))
	}
}

// noteMigration tells migrate about the end of a migration.
func (m *machine) noteMigration(event qmp.Event) {
	var data struct{ Status string }
	if event.Name != "MIGRATION" || json.Unmarshal(event.Data, &data) != nil {
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
