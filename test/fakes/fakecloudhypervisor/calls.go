//go:build linux

package fakecloudhypervisor

import (
	"fmt"
	"os"
	"strings"
)

func (v *vmm) ping([]byte) (any, error) {
	return map[string]any{
		"build_version": release(), "version": strings.TrimPrefix(release(), "v") + ".0",
		"pid": os.Getpid(), "features": []string{},
	}, nil
}

func (v *vmm) create(body []byte) (any, error) {
	config, err := readConfig(body)
	if err != nil {
		return nil, err
	}
	serial, err := os.Create(config.Serial.File) // before it confines itself
	if err != nil {
		return nil, fmt.Errorf("creating console device: %w", err)
	}
	_ = serial.Close()
	v.config = config
	return nil, nil
}

func (v *vmm) boot([]byte) (any, error) {
	v.event("vm", "booting")
	if err := v.run(v.config, ""); err != nil {
		return nil, fmt.Errorf("the VM could not boot: %w", err)
	}
	v.event("vm", "booted")
	if fails("panic") {
		v.event("guest", "panic")
	}
	if fails("reboot") {
		v.event("vm", "rebooting")
	}
	return nil, nil
}

func (v *vmm) pause([]byte) (any, error) {
	v.event("vm", "pausing")
	if err := v.vm.execute("stop", nil); err != nil {
		return nil, err
	}
	v.paused = true
	v.event("vm", "paused")
	return nil, nil
}

func (v *vmm) resume([]byte) (any, error) {
	v.event("vm", "resuming")
	if err := v.vm.execute("cont", nil); err != nil {
		return nil, err
	}
	v.paused = false
	v.event("vm", "resumed")
	return nil, nil
}

func (v *vmm) powerButton([]byte) (any, error) {
	return nil, v.vm.execute("system_powerdown", nil)
}

// shutDown answers with a status of its own: 200, and not 204.
func (v *vmm) shutDown([]byte) (any, error) {
	if v.vm != nil {
		_ = v.vm.execute("quit", nil)
		<-v.vm.done // its disks are whole then
	}
	v.finish()
	return struct{}{}, nil
}

// finish says what the real program says at its end.
func (v *vmm) finish() {
	if v.ended {
		return
	}
	v.ended = true
	if v.config != nil {
		if v.vm != nil {
			v.event("vm", "shutdown")
		}
		v.event("vm", "deleted")
	}
	v.event("vmm", "shutdown")
	close(v.end)
}
