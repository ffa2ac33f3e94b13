//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// awaitNothing requires that plugin and workers leave no orphans: all traces are
// gone within endLimit of the runner's end.
func (s *stage) awaitNothing() error {
	for deadline := time.Now().Add(endLimit); ; time.Sleep(glance) {
		left, err := s.traces()
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("orphans: %s", strings.Join(left, ", "))
		}
	}
}

// requirePlugin requires that traces has a plugin and a machine while they run,
// without which awaitNothing would prove nothing.
func (s *stage) requirePlugin() error {
	left, err := s.traces()
	if err != nil {
		return err
	}
	for _, program := range []string{plugin, "qemu"} {
		if !slices.ContainsFunc(left, func(what string) bool { return strings.Contains(what, program) }) {
			return fmt.Errorf("no %s runs: %s", program, strings.Join(left, ", "))
		}
	}
	return nil
}

// traces are what plugin and workers have on the host: processes, links, tables
// of nftables, directories. It asks the kernel, not the program.
func (s *stage) traces() (left []string, err error) {
	running, err := process.Find(s.ours)
	if err != nil {
		return nil, err
	}
	for _, arguments := range running {
		left = append(left, "process "+strings.Join(arguments[:min(3, len(arguments))], " "))
	}
	links, err := netlinkdump.LinkList()
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		if name := link.Attrs().Name; strings.HasPrefix(name, "mf") {
			left = append(left, "link "+name)
		}
	}
	connection, err := nftables.New()
	if err != nil {
		return nil, err
	}
	tables, err := netlinkdump.Settled(connection.ListTables)
	if err != nil {
		return nil, err
	}
	for _, table := range tables {
		left = append(left, "table "+table.Name)
	}
	for _, pattern := range []string{"/run/netns/mf*", s.poolDir() + "/workers/*", s.stateDir + "/addresses/10.*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		left = append(left, paths...)
	}
	return left, nil
}

// ours says whether a command line is our plugin's, or a machine's of its pool.
func (s *stage) ours(arguments []string) bool {
	return len(arguments) > 0 &&
		(arguments[0] == filepath.Join(s.work, "bin", plugin) ||
			strings.Contains(strings.Join(arguments, " "), s.poolDir()))
}
