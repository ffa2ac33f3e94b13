//go:build linux

package main

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
)

var runOptions = map[string]bool{
	"--no-graphics": false, "--no-audio": false, "--no-clipboard": false, "--serial": false, "--serial-path": true,
	"--recovery": false, "--vnc": false, "--vnc-experimental": false, "--disk": true, "--root-disk-opts": true,
	"--rosetta": true, "--dir": true, "--nested": false, "--suspendable": false, "--net-bridged": true,
	"--net-softnet": false, "--net-host": false, "--net-softnet-allow": true, "--net-softnet-block": true,
	"--net-softnet-expose": true, "--capture-system-keys": false, "--no-trackpad": false, "--no-pointer": false,
	"--no-keyboard": false,
}

// checkRun is what Tart refuses before it starts anything.
func checkRun(c call, v vm) error {
	kinds := 0
	softnet := c.has("--net-softnet") || c.has("--net-softnet-allow") || c.has("--net-softnet-block") ||
		c.has("--net-softnet-expose")
	for _, used := range []bool{softnet, c.has("--net-bridged"), c.has("--net-host")} {
		if used {
			kinds++
		}
	}
	config := v.read()
	suspendable := c.has("--suspendable") || v.has("state.vzvmsave")
	switch {
	case kinds > 1:
		return usage("--net-bridged, --net-softnet and --net-host are mutually exclusive")
	case c.has("--nested") && config.OS != "linux":
		return usage("Nested virtualization is supported for Linux guests only")
	case suspendable && config.OS != "darwin":
		return usage("You can only suspend macOS VMs")
	case suspendable && (c.has("--no-trackpad") || c.has("--no-pointer") || c.has("--no-keyboard")):
		return usage("--no-trackpad cannot be used with --suspendable")
	}
	for _, option := range []string{"--net-softnet-allow", "--net-softnet-block"} {
		for _, cidr := range strings.Split(c.last(option, "0.0.0.0/0"), ",") {
			if _, err := netip.ParsePrefix(cidr); err != nil {
				return usage("%s: %q is not a CIDR", option, cidr)
			}
		}
	}
	for _, part := range strings.Split(c.last("--root-disk-opts", "ro"), ",") {
		if !diskOption.MatchString(part) {
			return usage("--root-disk-opts: %q", part)
		}
	}
	for _, spec := range c.options["--disk"] {
		path, _, _ := strings.Cut(spec, ":")
		if path, _, _ = strings.Cut(path, ","); !exists(path) {
			return fail("disk %s does not exist", path)
		}
	}
	_, err := shares(c)
	return err
}

var diskOption = regexp.MustCompile(`^(ro|sync=(none|fsync|full)|caching=(automatic|cached|uncached))$`)

// shares are the tags of --dir; each path must be a directory.
func shares(c call) (tags []string, err error) {
	for _, spec := range c.options["--dir"] {
		tag := "com.apple.virtio-fs.automount"
		if before, after, ok := strings.Cut(spec, ",tag="); ok {
			spec, tag = before, after
		}
		spec = strings.TrimSuffix(spec, ":ro")
		if before, after, ok := strings.Cut(spec, ":"); ok && !strings.HasPrefix(spec, "/") {
			_, spec = before, after
		}
		if info, err := os.Stat(spec); err != nil || !info.IsDir() {
			return nil, fail("invalid dir parameter %s: not a directory", spec)
		}
		tags = append(tags, tag)
	}
	return tags, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
