//go:build linux

package main

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

func vm(args []string) error {
	if os.Geteuid() != 0 {
		return bad("virtual machines can only be managed by root")
	}
	commands := map[string]func([]string) error{
		"create": create, "clone": clone, "snapshot": snapshot, "rename": rename, "destroy": destroy, "img": img,
		"start": start, "_run": runGuest, "stop": stop, "poweroff": poweroff, "list": list,
	}
	if len(args) == 0 || commands[args[0]] == nil {
		return help("unknown command %q (the fake takes no abbreviations)", args)
	}
	return commands[args[0]](args[1:])
}

var guestName = regexp.MustCompile(`(?i)^[a-z0-9][.a-z0-9_-]{0,229}[a-z0-9]$`)

func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState == nil {
			return err
		}
		return failure{"", cmd.ProcessState.ExitCode()}
	}
	return nil
}

// img fetches an image; what is compressed is unpacked, and nothing is checked.
func img(args []string) error {
	if len(args) != 1 {
		return help("img URL")
	}
	from, err := url.Parse(args[0])
	if err != nil || from.Scheme != "file" || failing("img") {
		return bad("failed to fetch %s", args[0])
	}
	to := store(".img", filepath.Base(from.Path))
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := run("cp", "-L", from.Path, to); err != nil {
		return bad("failed to fetch %s", args[0])
	}
	switch filepath.Ext(to) {
	case ".xz", ".gz":
		return run(map[string]string{".xz": "unxz", ".gz": "gunzip"}[filepath.Ext(to)], "-f", to)
	}
	return nil
}

// snapshots of a guest are copies of its folder.
func snapshotDir(name, snap string) string { return world("snapshots", name+"@"+snap) }

func snapshot(args []string) error {
	given, names, err := options(args, map[string]bool{"-f": false})
	if err != nil || len(names) != 1 {
		return help("snapshot [-f] NAME[@SNAP]")
	}
	name, snap, _ := strings.Cut(names[0], "@")
	switch {
	case !exists(store(name)):
		return bad("%s does not appear to be an existing virtual machine", name)
	case snap == "":
		snap = "2026-08-20-10:00:00"
	case exists(snapshotDir(name, snap)):
		return bad("failed to create snapshot of %s: dataset already exists", names[0])
	}
	if exists(vmm(name)) && given["-f"] == "" {
		return bad("guest must be stopped to take a snapshot, or use -f")
	}
	return takeSnapshot(name, snap)
}

func takeSnapshot(name, snap string) error {
	if err := os.MkdirAll(world("snapshots"), 0o755); err != nil {
		return err
	}
	return run("cp", "-a", store(name), snapshotDir(name, snap))
}

func clone(args []string) error {
	if len(args) != 2 {
		return help("clone NAME[@SNAP] NEW")
	}
	name, snap, prepared := strings.Cut(args[0], "@")
	to := args[1]
	switch {
	case !exists(store(name)):
		return bad("%s does not appear to be an existing virtual machine", name)
	case exists(store(to)):
		return bad("new guest already exists in %s", store(to))
	case prepared && !exists(snapshotDir(name, snap)):
		return bad("snapshot %s@%s doesn't seem to exist", name, snap)
	case !prepared && exists(vmm(name)):
		return bad("%s must be stopped to be cloned without a snapshot", name)
	case failing("clone"):
		_ = os.MkdirAll(store(to), 0o755) // half way
		return bad("error while cloning dataset zroot/vm/%s", name)
	}
	if !prepared {
		snap = randomHex(4)
		violation("clone of %s without a snapshot: it leaves one for ever", name)
		if err := takeSnapshot(name, snap); err != nil {
			return err
		}
	}
	if err := run("cp", "-a", snapshotDir(name, snap), store(to)); err != nil {
		return err
	}
	if err := os.MkdirAll(world("depends"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(world("depends", to), []byte(name), 0o600); err != nil {
		return err
	}
	if !exists(store(to, name+".conf")) {
		return bad("unable to find the configuration of %s in the snapshot", name)
	}
	_ = os.Remove(store(to, "vm-bhyve.log"))
	if err := os.Rename(store(to, name+".conf"), store(to, to+".conf")); err != nil {
		return err
	}
	c, err := guestConf(to)
	if err != nil {
		return err
	}
	c.remove("uuid")
	c.remove("network0_mac")
	return c.write()
}

func rename(args []string) error {
	if len(args) != 2 || !guestName.MatchString(args[1]) {
		return help("rename NAME NEW")
	}
	from, to := args[0], args[1]
	switch {
	case !exists(store(from)):
		return bad("%s does not appear to be an existing virtual machine", from)
	case exists(vmm(from)) || exists(store(from, "run.lock")):
		return bad("guest must be stopped to be renamed")
	case exists(store(to)):
		return bad("directory %s already exists", store(to))
	}
	if err := os.Rename(store(from), store(to)); err != nil {
		return err
	}
	_ = os.Rename(world("depends", from), world("depends", to))
	return os.Rename(store(to, from+".conf"), store(to, to+".conf"))
}

func destroy(args []string) error {
	given, names, err := options(args, map[string]bool{"-f": false})
	if err != nil || len(names) != 1 {
		return help("destroy [-f] NAME")
	}
	name := names[0]
	if given["-f"] == "" {
		violation("destroy of %s without -f, whose question an empty input answers", name)
	}
	switch {
	case !exists(store(name)):
		return bad("%s doesn't appear to be a valid virtual machine", name)
	case exists(store(name, "run.lock")):
		return bad("%s appears to be running on host (locked)", name)
	case exists(vmm(name)):
		return bad("%s appears to be running locally (vmm exists)", name)
	}
	clones, _ := os.ReadDir(world("depends")) // none is none
	for _, entry := range clones {
		if origin, err := os.ReadFile(world("depends", entry.Name())); err == nil && string(origin) == name {
			return bad("failed to destroy zroot/vm/%s: %s depends on it", name, entry.Name())
		}
	}
	_ = os.Remove(world("depends", name))
	snapshots, _ := filepath.Glob(snapshotDir(name, "*"))
	for _, dir := range append(snapshots, store(name)) {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

func list(args []string) error {
	if len(args) != 0 {
		return help("the fake knows list without options only")
	}
	fmt.Println("NAME  DATASTORE  LOADER  CPU  MEMORY  VNC  AUTO  STATE  TAGS")
	entries, err := os.ReadDir(store())
	for _, entry := range entries {
		state := "Stopped"
		if pid, err := os.ReadFile(vmm(entry.Name())); err == nil {
			state = fmt.Sprintf("Running (%s)", pid)
		}
		if !strings.HasPrefix(entry.Name(), ".") {
			fmt.Printf("%s  default  uefi  4  8G  -  No  %s  -\n", entry.Name(), state)
		}
	}
	return err
}
