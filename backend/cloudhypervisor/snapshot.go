//go:build linux

package cloudhypervisor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cloudhypervisor/api"
)

// Files of a snapshot. The memory has one of its own only where it is not in a
// file that all of it is written to.
const (
	snapshotConfig = "config.json"
	snapshotState  = "state.json"
)

// placement is what of a snapshot's configuration is another machine's own.
// The rest must stay: the saved state fits no other.
type placement struct {
	Disk, Console, Vsock string
	// Memory is the file that holds the memory, which is mapped so that what
	// the machine writes stays its own; without one, the memory is in the
	// snapshot.
	Memory string
	// Rules take the place of the snapshot's, unless there are none.
	Rules []api.LandlockRule
}

// place returns a snapshot's configuration for another machine. What of it we
// do not know stays as it is.
func place(config []byte, p placement) ([]byte, error) {
	var root map[string]any
	decoder := json.NewDecoder(bytes.NewReader(config))
	decoder.UseNumber() // sizes have more digits than a float
	if err := decoder.Decode(&root); err != nil {
		return nil, fmt.Errorf("reading a snapshot's configuration: %w", err)
	}
	err := errors.Join(
		change(root, "serial", map[string]any{"mode": api.ConsoleFile, "file": p.Console}),
		change(root, "vsock", map[string]any{"socket": p.Vsock}),
		changeListed(root, "disks", rootDisk, map[string]any{"path": p.Disk}),
		// An address of the host's side needs a capability to be set.
		changeListed(root, "net", netDevice, map[string]any{"host_mac": nil}),
	)
	if memory, ok := root["memory"].(map[string]any); ok && (p.Memory != "" || memory["zones"] != nil) {
		zone := map[string]any{"file": nil, "shared": false}
		if p.Memory != "" {
			zone["file"] = p.Memory
		}
		err = errors.Join(err, changeListed(memory, "zones", memoryZone, zone))
	}
	if err != nil {
		return nil, fmt.Errorf("changing a snapshot's configuration: %w", err)
	}
	if p.Rules != nil {
		root["landlock_rules"] = p.Rules
	}
	return json.Marshal(root)
}

// change sets fields of the object with that key; nil removes one.
func change(parent map[string]any, key string, fields map[string]any) error {
	object, ok := parent[key].(map[string]any)
	if !ok {
		return fmt.Errorf("it has no %s", key)
	}
	set(object, fields)
	return nil
}

// changeListed is change for the object with that id in a list.
func changeListed(parent map[string]any, key, id string, fields map[string]any) error {
	list, _ := parent[key].([]any)
	for _, element := range list {
		if object, ok := element.(map[string]any); ok && object["id"] == id {
			set(object, fields)
			return nil
		}
	}
	return fmt.Errorf("it has no %q among its %s", id, key)
}

func set(object, fields map[string]any) {
	for name, value := range fields {
		if value == nil {
			delete(object, name)
			continue
		}
		object[name] = value
	}
}
