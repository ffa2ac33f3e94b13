//go:build linux

package qemu

import (
	"context"
	"fmt"
)

// Names of what stands between a machine and its network while it is cut off.
const (
	cutName = "cut"
	sink    = "sink"
)

// CutOff has QEMU throw away every packet from the machine and to it. The guest
// sees a network all the same: that of a template is set up before there is an
// identity, and no fork has to do it again.
func (m *machine) CutOff(ctx context.Context) error {
	null := map[string]any{"id": sink, "backend": map[string]any{"type": "null", "data": map[string]any{}}}
	if err := m.qmp.Execute(ctx, "chardev-add", null, nil); err != nil {
		return fmt.Errorf("cutting the machine off its network: %w", err)
	}
	cut := map[string]any{
		"qom-type": "filter-redirector", "id": cutName, "netdev": networkName, "queue": "all", "outdev": sink,
	}
	if err := m.qmp.Execute(ctx, "object-add", cut, nil); err != nil {
		return fmt.Errorf("cutting the machine off its network: %w", err)
	}
	return nil
}

// Connect undoes CutOff.
func (m *machine) Connect(ctx context.Context) error {
	if err := m.qmp.Execute(ctx, "object-del", map[string]any{"id": cutName}, nil); err != nil {
		return fmt.Errorf("connecting the machine to its network: %w", err)
	}
	return nil
}
