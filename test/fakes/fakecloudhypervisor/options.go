//go:build linux

package fakecloudhypervisor

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// options are a command line's, as clap reads it: those that we have no use for
// are known all the same.
type options struct {
	version        bool
	apiFD, eventFD int
	logFile        string
	kernel, serial string
	hasAPI         bool
}

// valued are the options that take a value, and flags those that take none.
var (
	valued = words("api-socket balloon cmdline console cpus debug-console device disk event-monitor firmware fs " +
		"generic-vhost-user initramfs kernel landlock-rules log-file memory memory-zone net numa pci-segment " +
		"platform pmem rate-limit-group restore rng seccomp serial tpm user-device vdpa vsock")
	flags = words("landlock no-shutdown pvpanic version watchdog")
	// machineOptions want something to boot beside them.
	machineOptions = words("balloon cmdline console cpus disk fs initramfs landlock landlock-rules memory " +
		"memory-zone net pvpanic rng serial vsock watchdog")
)

func words(list string) map[string]bool {
	set := map[string]bool{}
	for _, word := range strings.Fields(list) {
		set[word] = true
	}
	return set
}

// parse reads a command line, and refuses what the real program does.
func parse(arguments []string) (options, error) {
	o := options{apiFD: -1, eventFD: -1}
	if len(arguments) == 0 {
		return o, fmt.Errorf("no arguments: see --help")
	}
	given := map[string]string{}
	for len(arguments) > 0 {
		name, isOption := strings.CutPrefix(arguments[0], "--")
		if name == "V" || arguments[0] == "-V" {
			name, isOption = "version", true
		}
		switch {
		case isOption && flags[name]:
			given[name], arguments = "", arguments[1:]
		case isOption && valued[name] && len(arguments) == 1:
			return o, fmt.Errorf("a value is required for '--%s <%s>' but none was supplied", name, name)
		case isOption && valued[name]:
			if _, twice := given[name]; twice {
				return o, fmt.Errorf("the argument '--%s <%s>' cannot be used multiple times", name, name)
			}
			given[name], arguments = arguments[1], arguments[2:]
		default:
			return o, fmt.Errorf("unexpected argument '%s' found", arguments[0])
		}
	}
	return o.take(given)
}

func (o options) take(given map[string]string) (options, error) {
	_, boots := given["kernel"]
	for name, value := range given {
		var err error
		switch {
		case machineOptions[name] && !boots:
			err = fmt.Errorf("the following required arguments were not provided: --kernel <kernel> (for --%s)", name)
		case name == "version":
			o.version = true
		case name == "api-socket":
			o.hasAPI = true
			o.apiFD, err = descriptor(value)
		case name == "event-monitor":
			o.eventFD, err = descriptor(value)
		case name == "log-file":
			o.logFile = value
		case name == "kernel":
			o.kernel = value
		case name == "serial":
			o.serial, _ = strings.CutPrefix(value, "file=")
		case name == "seccomp" && value != "true" && value != "false" && value != "log":
			err = fmt.Errorf("invalid value '%s' for '--seccomp <seccomp>'", value)
		}
		if err != nil {
			return o, err
		}
	}
	return o, nil
}

// descriptor is one that was inherited. The real program takes a path as well,
// which leaves a stale socket and a lock behind.
func descriptor(value string) (int, error) {
	text, ok := strings.CutPrefix(value, "fd=")
	fd, err := strconv.Atoi(text)
	if !ok || err != nil {
		return -1, fmt.Errorf("want fd=N, not %q", value)
	}
	if err := unix.Fstat(fd, &unix.Stat_t{}); err != nil {
		return -1, fmt.Errorf("descriptor %d was not inherited", fd)
	}
	return fd, nil
}
