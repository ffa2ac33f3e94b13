//go:build linux

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// clone is the command line of a clone, as the backend's golden file has it:
// each option and its value on a line.
func clone(t *testing.T, golden string) []string {
	t.Helper()
	text, err := os.ReadFile("../../../backend/qemu/testdata/" + golden)
	require.NoError(t, err)
	command := []string{"/usr/bin/qemu"}
	for line := range strings.Lines(string(text)) {
		command = append(command, strings.SplitN(strings.TrimSpace(line), " ", 2)...)
	}
	return command
}

func TestOldWayIsTheSameMachineButForItsDevicesAndSeed(t *testing.T) {
	for _, golden := range []string{"tcg-overlay.txt", "kvm-reflink.txt"} {
		before := clone(t, golden)
		command, err := generalised(before, "/w")
		require.NoError(t, err)
		after := in(command, "/old/dir")
		require.NotContains(t, strings.Join(after, " "), "/w/")

		devices := []string{
			"-drive", "if=none,id=root,format=raw,file=/old/dir/disk.raw",
			"-device", "virtio-blk-pci,drive=root",
			"-drive", "if=none,id=seed,format=raw,readonly=on,file=/old/dir/seed.iso",
			"-device", "virtio-blk-pci,drive=seed",
			"-netdev", "tap,id=net,script=no,downscript=no,ifname=tap0",
			"-device", "virtio-net-pci,netdev=net,romfile=,mac=02:6d:66:00:00:02",
		}
		rest := len(after) - len(devices)
		require.Equal(t, devices, after[rest:])
		require.Subset(t, before, unchanged(after[:rest]))
		for _, what := range []string{"blockdev", "netdev", "virtio-blk", "virtio-net", "iothread"} {
			require.NotContains(t, strings.Join(after[:rest], " "), what)
		}
		for _, kept := range []string{"-cpu", "-smp", "-m", "-sandbox", "virtio-serial-pci", "virtio-rng-pci"} {
			require.Contains(t, after, kept)
		}
	}
}

// unchanged are the arguments that have to be the clone's own: all but the kernel's
// own, and the paths of files.
func unchanged(command []string) []string {
	var same []string
	for i, argument := range command {
		if i > 0 && command[i-1] == "-append" {
			argument = strings.TrimSuffix(argument, " ds=nocloud")
		}
		same = append(same, strings.ReplaceAll(argument, "/old/dir", "/w"))
	}
	return same
}

// What the backend gives its own devices is not the old way's.
func TestOldWayHasNoneOfOurDevices(t *testing.T) {
	kept := withoutDevices([]string{"qemu", "-object", "iothread,id=io", "-object", "rng-random,id=rng",
		"-device", "virtio-blk-pci,drive=root,iothread=io,num-queues=2", "-device", "virtio-rng-pci,rng=rng",
		"-blockdev", "driver=file,node-name=root-file,aio=io_uring,filename=/w/disk",
		"-netdev", "tap,id=net,ifname=tap0,vhost=on,queues=2", "-device", "virtio-net-pci,netdev=net,mq=on", "-S"})
	require.Equal(t, []string{"qemu", "-object", "rng-random,id=rng", "-device", "virtio-rng-pci,rng=rng", "-S"}, kept)
}

func TestFormatOfAClone(t *testing.T) {
	require.Equal(t, "qcow2", diskFormat(clone(t, "tcg-overlay.txt")))
	require.Equal(t, "raw", diskFormat(clone(t, "kvm-reflink.txt")))
	require.Equal(t, "", diskFormat(nil))
}

func TestCommandLinesThatCannotBeTheOldWay(t *testing.T) {
	_, err := generalised([]string{"qemu", "-name", "x"}, "/w")
	require.ErrorContains(t, err, "without a kernel")
	_, err = generalised([]string{"qemu", "-append", "console=x"}, "/w")
	require.ErrorContains(t, err, "names no root disk")
}
