package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
)

// awaitNothing holds that nothing is left of plugin and workers, a moment after
// the runner has ended.
func (s *stage) awaitNothing() error {
	for deadline := time.Now().Add(endLimit); ; time.Sleep(glance) {
		left, err := s.remains()
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("is left over: %s", strings.Join(left, ", "))
		}
	}
}

// requirePlugin holds that a plugin and a machine are seen while they run: what
// says that they are gone must be able to see them.
func (s *stage) requirePlugin() error {
	left, err := s.remains()
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

// remains looks at the host with no help of the program.
func (s *stage) remains() (left []string, err error) {
	running, err := process.Find(s.ours)
	if err != nil {
		return nil, err
	}
	for _, arguments := range running {
		left = append(left, "process "+strings.Join(arguments[:min(3, len(arguments))], " "))
	}
	links, err := netlink.LinkList()
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
	tables, err := connection.ListTables()
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
		(arguments[0] == filepath.Join(s.work, "bin", plugin) || strings.Contains(strings.Join(arguments, " "), s.poolDir()))
}
