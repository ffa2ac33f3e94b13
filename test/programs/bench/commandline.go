//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Words that stand for what differs between two machines.
const (
	dirWord  = "{dir}"
	diskWord = "{dir}/disk.raw"
	seedWord = "{dir}/seed.iso"
)

// generalised is the command line of a clone with its directory left open, and
// with what the old way has: cloud-init and its seed volume, a raw disk, and
// devices as QEMU gives them to who asks for no more. All else is the same
// machine.
func generalised(clone []string, dir string) ([]string, error) {
	command := make([]string, len(clone))
	for i, argument := range clone {
		command[i] = strings.ReplaceAll(argument, dir, dirWord)
	}
	kernel := slices.Index(command, "-append") + 1
	if kernel == 0 || kernel == len(command) {
		return nil, errors.New("the clone boots without a kernel of the host's; only images from packages are measured")
	}
	command[kernel] += " ds=nocloud"
	tap, card := valueOf(command, "tap,", "ifname"), valueOf(command, "virtio-net", "mac")
	if diskFormat(command) == "" || tap == "" || card == "" {
		return nil, fmt.Errorf("the clone's command line names no root disk, tap device or network card: %q", clone)
	}
	return append(withoutDevices(command),
		"-drive", "if=none,id=root,format=raw,file="+diskWord,
		"-device", "virtio-blk-pci,drive=root",
		"-drive", "if=none,id=seed,format=raw,readonly=on,file="+seedWord,
		"-device", "virtio-blk-pci,drive=seed",
		"-netdev", "tap,id=net,script=no,downscript=no,ifname="+tap,
		"-device", "virtio-net-pci,netdev=net,romfile=,mac="+card), nil
}

// ourDevices are a clone's disks and network cards, and threads of their own: options
// with how their values begin.
var ourDevices = [][2]string{
	{"-blockdev", ""}, {"-device", "virtio-blk"}, {"-object", "iothread"},
	{"-netdev", ""}, {"-device", "virtio-net"},
}

func withoutDevices(command []string) []string {
	var kept []string
	for i := 0; i < len(command); i++ {
		isOurs := func(device [2]string) bool {
			return command[i] == device[0] && i+1 < len(command) && strings.HasPrefix(command[i+1], device[1])
		}
		if slices.ContainsFunc(ourDevices, isOurs) {
			i++ // its value
			continue
		}
		kept = append(kept, command[i])
	}
	return kept
}

// valueOf is what a name is set to in the first argument that begins so.
func valueOf(command []string, begins, name string) string {
	for _, argument := range command {
		if strings.HasPrefix(argument, begins) {
			return setting(argument, name)
		}
	}
	return ""
}

// setting is what a name is set to in an argument "…,name=value,…".
func setting(argument, name string) string {
	for one := range strings.SplitSeq(argument, ",") {
		if value, found := strings.CutPrefix(one, name+"="); found {
			return value
		}
	}
	return ""
}

// in is a generalised command line for a machine with files in dir.
func in(command []string, dir string) []string {
	filled := make([]string, len(command))
	for i, argument := range command {
		filled[i] = strings.ReplaceAll(argument, dirWord, dir)
	}
	return filled
}

// diskFormat is what a clone's root disk is.
func diskFormat(clone []string) string {
	for _, argument := range clone {
		if setting(argument, "node-name") == "root" {
			return setting(argument, "driver")
		}
	}
	return ""
}
