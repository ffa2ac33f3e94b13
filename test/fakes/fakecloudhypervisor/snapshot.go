//go:build linux

package fakecloudhypervisor

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// snapshot writes config.json with what Cloud Hypervisor adds to it, and
// state.json: a line that says what machine it fits, and then QEMU's state. The
// memory is in there too, unless it is in a file that all of it was written to.
func (v *vmm) snapshot(body []byte) (any, error) {
	var request struct {
		URL string `json:"destination_url"`
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, err
	}
	dir, ok := strings.CutPrefix(request.URL, "file://")
	switch {
	case !ok || !exists(dir):
		return nil, fmt.Errorf("cannot snapshot VM: no directory at %q", request.URL)
	case !v.config.allowed(dir, "w"):
		return nil, fmt.Errorf("cannot snapshot VM: permission denied: %s", dir)
	}
	v.event("vm", "snapshotting")
	config, err := v.config.asSaved()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
		return nil, err
	}
	state := filepath.Join(dir, "state.json")
	if err := os.WriteFile(state, []byte(v.config.fixed()+"\n"), 0o600); err != nil {
		return nil, err
	}
	zones := v.config.Memory.Zones
	inFile := len(zones) > 0 && zones[0].Shared
	if !inFile {
		if err := os.WriteFile(filepath.Join(dir, "memory-ranges"), nil, 0o600); err != nil {
			return nil, err
		}
	}
	if err := v.vm.migrate("migrate", "cat >>"+state, inFile); err != nil {
		return nil, err
	}
	v.event("vm", "snapshotted")
	return nil, nil
}

// asSaved adds the address of the TAP device, which Cloud Hypervisor has asked
// for, and a default.
func (c *vmConfig) asSaved() ([]byte, error) {
	var config map[string]any
	if err := json.Unmarshal(c.text, &config); err != nil {
		return nil, err
	}
	for _, net := range config["net"].([]any) {
		net.(map[string]any)["host_mac"] = "02:6d:66:00:00:01"
	}
	config["watchdog"] = false
	return json.MarshalIndent(config, "", "  ")
}

func (v *vmm) restore(body []byte) (any, error) {
	var request struct {
		URL    string `json:"source_url"`
		Resume bool
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, err
	}
	dir, _ := strings.CutPrefix(request.URL, "file://")
	v.event("vm", "restoring")
	config, err := readSnapshot(dir)
	if err == nil {
		err = v.run(config, filepath.Join(dir, "state.json"))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot restore VM: %w", err)
	}
	v.config, v.paused = config, true
	v.event("vm", "restored")
	if request.Resume {
		return v.resume(nil)
	}
	return nil, nil
}

// readSnapshot refuses what the saved state does not fit, and what would spoil
// a template.
func readSnapshot(dir string) (*vmConfig, error) {
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	if err := check(machine, "config.json", text); err != nil {
		return nil, err
	}
	config, err := readConfig(text)
	if err != nil {
		return nil, err
	}
	state, err := os.Open(filepath.Join(dir, "state.json"))
	if err != nil {
		return nil, err
	}
	defer state.Close()
	fits, err := bufio.NewReader(state).ReadString('\n')
	if err != nil {
		return nil, err
	}
	if fits != config.fixed()+"\n" {
		return nil, fmt.Errorf("the saved state fits another machine: it was %q, and is %q", strings.TrimSpace(fits),
			config.fixed())
	}
	for _, zone := range config.Memory.Zones {
		if zone.Shared {
			return nil, fmt.Errorf("zone %s is shared: what this machine writes would become the template's", zone.ID)
		}
	}
	if hasMemory := exists(filepath.Join(dir, "memory-ranges")); hasMemory == (config.memoryFile() != "") {
		return nil, errors.New("the memory is either in the snapshot or in a file of its own")
	}
	return config, nil
}
