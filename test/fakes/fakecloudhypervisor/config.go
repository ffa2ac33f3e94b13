//go:build linux

package fakecloudhypervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// vmConfig is what the fake needs of a configuration. It is not the
// backend's type: a mistake there must not be one here too.
type vmConfig struct {
	CPUs struct {
		Boot int `json:"boot_vcpus"`
		Max  int `json:"max_vcpus"`
	} `json:"cpus"`
	Memory struct {
		Size  int64
		Zones []struct {
			ID     string
			Size   int64
			File   string
			Shared bool
		}
	}
	Payload struct{ Kernel, Initramfs, Cmdline string }
	Disks   []struct {
		ID, Path     string
		ImageType    string `json:"image_type"`
		ReadOnly     bool   `json:"readonly"`
		BackingFiles bool   `json:"backing_files"`
		Queues       int    `json:"num_queues"`
	}
	Net []struct {
		ID, TAP, MAC string
		HostMAC      string `json:"host_mac"`
		Queues       int    `json:"num_queues"`
	}
	Balloon        *struct{ Size int64 }
	Serial         struct{ Mode, File string }
	Console        struct{ Mode string }
	Vsock          struct{ Socket string }
	Pvpanic        bool
	LandlockEnable bool                            `json:"landlock_enable"`
	LandlockRules  []struct{ Path, Access string } `json:"landlock_rules"`

	// text is the configuration itself.
	text []byte
}

func readConfig(text []byte) (*vmConfig, error) {
	c := &vmConfig{text: text}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadBody, err)
	}
	return c, nil
}

// validate is what the real program would fail at when it boots or restores,
// and what it would do but a worker must not.
func (c *vmConfig) validate() error {
	var wrong []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	check(c.CPUs.Boot >= 1 && c.CPUs.Boot <= c.CPUs.Max, "boot_vcpus %d of %d", c.CPUs.Boot, c.CPUs.Max)
	for _, disk := range c.Disks {
		check(disk.Queues <= c.CPUs.Boot, "disk %s has %d queues", disk.ID, disk.Queues)
	}
	for _, net := range c.Net {
		check(net.Queues%2 == 0 && net.Queues/2 <= c.CPUs.Boot, "net %s has %d queues", net.ID, net.Queues)
	}
	check((c.Memory.Size == 0) == (len(c.Memory.Zones) == 1), "memory is either a size or one zone here")
	for _, zone := range c.Memory.Zones {
		if zone.File == "" {
			check(!zone.Shared, "zone %s is shared with nobody", zone.ID)
			continue
		}
		info, err := os.Stat(zone.File)
		check(err == nil && info.Size() >= zone.Size, "zone %s: its file has no room for %d bytes", zone.ID, zone.Size)
		check(c.Balloon == nil, "a balloon punches holes into the file of zone %s", zone.ID)
	}
	check(exists(c.Payload.Kernel) && exists(c.Payload.Initramfs), "kernel %s or initramfs %s is not there",
		c.Payload.Kernel, c.Payload.Initramfs)
	check(len(c.Disks) > 0, "no disk")
	for _, disk := range c.Disks {
		wrong = append(wrong, c.validateDisk(disk.ID, disk.Path, disk.ImageType, disk.BackingFiles))
	}
	for _, net := range c.Net {
		check(net.TAP != "" && net.MAC != "", "a network device without TAP or MAC")
		check(net.HostMAC == "", "an address on the host's side needs a capability")
	}
	check(c.Serial.Mode == "File" && c.Console.Mode == "Off", "the console is to be a file")
	check(c.Pvpanic && c.LandlockEnable, "pvpanic and Landlock are to be on")
	check(!exists(c.Vsock.Socket), "error binding to the vsock socket: address in use: %s", c.Vsock.Socket)
	check(c.allowed(c.Vsock.Socket, "w"), "error binding to the vsock socket: permission denied: %s", c.Vsock.Socket)
	for _, rule := range c.LandlockRules {
		check(exists(rule.Path), "path %q provided in landlock-rules does not exist", rule.Path)
		check(rule.Access != "" && strings.Trim(rule.Access, "rw") == "", "invalid Landlock access %q", rule.Access)
	}
	return errors.Join(wrong...)
}

func (c *vmConfig) validateDisk(id, path, imageType string, backingFiles bool) error {
	format := map[string]string{"Raw": "raw", "Qcow2": "qcow2"}[imageType]
	if id == "" || format == "" {
		return fmt.Errorf("disk %q has no id, or %q as its image type", id, imageType)
	}
	chain, err := backingChain(path, format)
	if err != nil {
		return fmt.Errorf("disk %s: %w", id, err)
	}
	if len(chain) > 1 && !backingFiles {
		return fmt.Errorf("disk %s: backing file support is disabled", id)
	}
	for _, file := range chain[1:] {
		if !c.allowed(file, "r") {
			return fmt.Errorf("disk %s: permission denied: %s", id, file)
		}
	}
	return nil
}

// backingChain is a disk, its backing file, the backing file of that, and so on.
func backingChain(path, format string) ([]string, error) {
	out, err := exec.Command("qemu-img", "info", "-U", "-f", format, "--backing-chain", "--output=json", path).Output()
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	var infos []struct{ Filename, Format string }
	if err := json.Unmarshal(out, &infos); err != nil {
		return nil, err
	}
	files := make([]string, len(infos))
	for i, info := range infos {
		files[i] = info.Filename
	}
	return files, nil
}

// allowed says whether a rule lets a path be used so, or a path above it.
func (c *vmConfig) allowed(path, access string) bool {
	for _, rule := range c.LandlockRules {
		below, err := filepath.Rel(rule.Path, path)
		if err == nil && !strings.HasPrefix(below, "..") && strings.Contains(rule.Access, access) {
			return true
		}
	}
	return false
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// memoryFile is the file that the memory is in, if it is in one.
func (c *vmConfig) memoryFile() string {
	if len(c.Memory.Zones) == 0 {
		return ""
	}
	return c.Memory.Zones[0].File
}

// fixed is the part of a configuration that a restored machine must share with
// the one that was saved.
func (c *vmConfig) fixed() string {
	size := c.Memory.Size
	for _, zone := range c.Memory.Zones {
		size += zone.Size
	}
	parts := []string{fmt.Sprint(c.CPUs, size, c.Payload, c.Balloon != nil, c.Pvpanic)}
	for _, disk := range c.Disks {
		parts = append(parts, fmt.Sprint(disk.ID, disk.ImageType, disk.ReadOnly))
	}
	for _, net := range c.Net {
		parts = append(parts, net.ID+" "+net.MAC)
	}
	return strings.Join(parts, "; ")
}
