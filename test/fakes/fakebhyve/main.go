//go:build linux

// Command fakebhyve plays a FreeBSD host with vm-bhyve, for tests on Linux. By
// the name that it is called by it is vm, sysrc, zfs, bhyvectl, arp, pkg or
// sudo. Of vm it has the command line, files, states and exit codes of the real
// one's source, and its guests are those of package fakeguest. It is strict:
// what the real ones refuse it refuses, and what they let pass although it
// harms, such as a clone that leaves a snapshot for ever, it writes down as a
// violation, for the test to find.
//
// Its world is the directory $MAYFLY_FAKE_BHYVE, and $MAYFLY_FAKE_VMM in place
// of /dev/vmm.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/fakeguest"
)

// failure is an error with what the tool says before it.
type failure struct {
	text string
	code int
}

func (f failure) Error() string { return f.text }

// bad is an error as vm-bhyve prints it.
func bad(format string, args ...any) error {
	return failure{"/usr/local/sbin/vm: ERROR: " + fmt.Sprintf(format, args...), 1}
}

// help is what wrong usage prints.
func help(format string, args ...any) error {
	return failure{"vm-bhyve: " + fmt.Sprintf(format, args...) + "\nUsage: vm ...", 1}
}

func main() {
	fakeguest.Main()
	tools := map[string]func([]string) error{
		"vm": vm, "sysrc": sysrc, "zfs": zfs, "bhyvectl": bhyvectl, "arp": arp, "pkg": pkg, "sudo": sudo,
	}
	name := filepath.Base(os.Args[0])
	tool, ok := tools[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "fakebhyve: nothing is called %s\n", name)
		os.Exit(127)
	}
	if err := tool(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		var f failure
		if errors.As(err, &f) {
			os.Exit(f.code)
		}
		os.Exit(1)
	}
}

// world is a path in the host that is played.
func world(elements ...string) string {
	dir := os.Getenv("MAYFLY_FAKE_BHYVE")
	if dir == "" {
		panic("MAYFLY_FAKE_BHYVE names no directory")
	}
	return filepath.Join(append([]string{dir}, elements...)...)
}

// store is the file system of the default datastore, vm_dir.
func store(elements ...string) string { return world(append([]string{"vm"}, elements...)...) }

// vmm is a machine's device.
func vmm(name string) string {
	dir := os.Getenv("MAYFLY_FAKE_VMM")
	if dir == "" {
		dir = "/dev/vmm"
	}
	return filepath.Join(dir, name)
}

func failing(what string) bool { return exists(world("fail", what)) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// violation writes down what the real tools let pass, and nobody should do.
func violation(format string, args ...any) {
	file, err := os.OpenFile(world("violations"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	fmt.Fprintf(file, format+"\n", args...)
}

// options takes a command line apart as getopts does: letters with true take a
// value.
func options(args []string, letters map[string]bool) (given map[string]string, rest []string, err error) {
	given = map[string]string{}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		takes, ok := letters[args[0]]
		switch {
		case !ok:
			return nil, nil, help("illegal option %s", args[0])
		case !takes:
			given[args[0]], args = "yes", args[1:]
		case len(args) == 1:
			return nil, nil, help("option requires an argument %s", args[0])
		default:
			given[args[0]], args = args[1], args[2:]
		}
	}
	return given, args, nil
}
