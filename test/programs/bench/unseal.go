//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
)

// unsealedDisk copies the golden disk once and gives the copy back what the
// old way needs, and what sealing has taken: see unseal.
func unsealedDisk(ctx context.Context, golden, work string) (path string, err error) {
	path = filepath.Join(work, "unsealed.raw")
	if err := disk.SparseCopy(ctx, golden, path); err != nil {
		return "", err
	}
	err = mounted(ctx, path, filepath.Join(work, "unsealed"), unseal)
	if err != nil {
		return "", fmt.Errorf("giving the image its cloud-init back: %w", err)
	}
	return path, nil
}

// mounted mounts the file system in a file while it works on it.
func mounted(ctx context.Context, path, at string, work func(root string) error) (err error) {
	if err := os.Mkdir(at, 0o700); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "mount", "-o", "loop", path, at).CombinedOutput(); err != nil {
		return fmt.Errorf("mounting a file: %w: %s", err, out)
	}
	defer func() { err = errors.Join(err, unmount(context.WithoutCancel(ctx), at)) }()
	return work(at)
}

func unmount(ctx context.Context, at string) error {
	ctx, cancel := context.WithTimeout(ctx, undoLimit)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "umount", at).CombinedOutput(); err != nil {
		return fmt.Errorf("unmounting %s: %w: %s", filepath.Base(at), err, out)
	}
	return os.Remove(at)
}

// What keeps cloud-init from running, and SSH from the distribution's server.
var sealed = []string{
	"etc/cloud/cloud-init.disabled",
	"etc/systemd/system/sysinit.target.wants/mayfly-agent.service",
}

// units is where packages keep theirs.
const units = "/lib/systemd/system/"

// links are what stock images have enabled, as packages and their enabling make
// them: the SSH server, by the name too that cloud-init is ordered before, and
// the service that sets up the network which cloud-init has configured.
var links = map[string]string{
	"etc/systemd/system/sshd.service":                                     units + "ssh.service",
	"etc/systemd/system/multi-user.target.wants/ssh.service":              units + "ssh.service",
	"etc/systemd/system/multi-user.target.wants/systemd-networkd.service": units + "systemd-networkd.service",
	"etc/systemd/system/sockets.target.wants/systemd-networkd.socket":     units + "systemd-networkd.socket",
}

// unseal takes back what sealing has done: cloud-init runs at the next boot, and
// with it all units that a stock image has, the SSH server among them.
func unseal(root string) error {
	for _, name := range sealed {
		if err := os.Remove(filepath.Join(root, name)); err != nil {
			return fmt.Errorf("the image is not sealed as expected: %w", err)
		}
	}
	for _, dir := range []string{"etc/systemd/system", "etc/tmpfiles.d"} {
		if err := unmask(filepath.Join(root, dir)); err != nil {
			return err
		}
	}
	for name, target := range links {
		path := filepath.Join(root, name)
		err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.RemoveAll(path), os.Symlink(target, path))
		if err != nil {
			return err
		}
	}
	return nil
}

// unmask removes the links in a directory that switch something off.
func unmask(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if target, err := os.Readlink(path); err != nil || target != os.DevNull {
			continue
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}
