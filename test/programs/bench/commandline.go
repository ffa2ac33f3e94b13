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
	seedWord = "{dir}/seed.iso"
)

// generalised is the command line of a clone with its directory left open, and
// with what the old way has besides: cloud-init and its seed volume, and a raw
// disk. All else is the same machine.
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
	root := slices.IndexFunc(command, func(argument string) bool {
		return strings.Contains(argument, "node-name=root,")
	})
	if root < 0 || diskPath(command) == "" {
		return nil, fmt.Errorf("the clone's command line names no root disk: %q", clone)
	}
	command[root] = strings.Replace(command[root], "driver=qcow2", "driver=raw", 1)
	return append(command,
		"-blockdev", "driver=file,node-name=seed-file,read-only=on,filename="+seedWord,
		"-blockdev", "driver=raw,node-name=seed,file=seed-file,read-only=on",
		"-device", "virtio-blk-pci,drive=seed"), nil
}

// in is a generalised command line for a machine with files in dir.
func in(command []string, dir string) []string {
	filled := make([]string, len(command))
	for i, argument := range command {
		filled[i] = strings.ReplaceAll(argument, dirWord, dir)
	}
	return filled
}

// diskPath is the file of the root disk.
func diskPath(command []string) string {
	for _, argument := range command {
		if !strings.Contains(argument, "node-name=root-file,") {
			continue
		}
		_, rest, _ := strings.Cut(argument, "filename=")
		path, _, _ := strings.Cut(rest, ",")
		return path
	}
	return ""
}

// diskFormat is what a clone's disk is.
func diskFormat(clone []string) string {
	for _, argument := range clone {
		if strings.Contains(argument, "node-name=root,") {
			format, _, _ := strings.Cut(strings.TrimPrefix(argument, "driver="), ",")
			return format
		}
	}
	return ""
}
