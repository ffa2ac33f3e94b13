//go:build linux

package main

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/fakeguest"
)

// runVM runs the machine, and returns when that has ended.
func runVM(c call) error {
	name := c.names[0]
	v, err := find(name)
	if err != nil {
		return err
	}
	if err := checkRun(c, v); err != nil {
		return err
	}
	if !slices.Contains(os.Environ(), "TART_NO_AUTO_PRUNE=") {
		violation("run of %s with automatic pruning on", name)
	}
	lock, err := os.OpenFile(v.path("config.json"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	// Before anything else of the file is opened: closing that would unlock it.
	config, suspended := v.read(), v.has("state.vzvmsave")
	if v.pid() != 0 {
		return failure{exitState, fmt.Sprintf("VM %q is already running!", name)}
	}
	limit, same := running(v, config)
	if same {
		fmt.Fprintln(os.Stderr, "There is already a running VM with the same MAC address, generating a new one")
		config.MACAddress, suspended = randomMAC(), false
		_ = os.Remove(v.path("state.vzvmsave"))
		if err := v.write(config); err != nil {
			return err
		}
	}
	if limit >= 2 && config.OS == "darwin" {
		return fail("The number of VMs exceeds the system limit")
	}
	if failing("run") {
		return fail("Softnet failed: not SUID root")
	}
	_ = os.WriteFile(v.path("arguments"), []byte(strings.Join(os.Args[1:], "\n")+"\n"), 0o600) // for tests to read
	if err := unix.FcntlFlock(lock.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		return failure{exitState, fmt.Sprintf("VM %q is already running!", name)}
	}
	// The lock falls at any close of the file in this process.
	defer lock.Close()
	return live(c, v, config, suspended)
}

// running counts the macOS machines that run, and looks for the MAC.
func running(self vm, config config) (limit int, same bool) {
	for _, other := range machines() {
		if other.dir == self.dir || other.pid() == 0 {
			continue
		}
		c := other.read()
		if c.OS == "darwin" {
			limit++
		}
		same = same || c.MACAddress == config.MACAddress
	}
	return limit, same
}

// live boots the guest and obeys signals until it ends. The thread must not
// end before the guest.
func live(c call, v vm, config config, suspended bool) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2)
	where, err := address(config.MACAddress)
	if err != nil {
		return err
	}
	_ = os.Remove(v.path("state.vzvmsave"))
	tags, err := shares(c)
	if err != nil {
		return err
	}
	if err := fakeguest.Share(v.root(), tags); err != nil {
		return err
	}
	guest, err := fakeguest.Boot(v.root(), where)
	if err != nil {
		return err
	}
	if err := os.WriteFile(v.path("address"), []byte(where), 0o600); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- guest.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				return fail("the guest failed: %v", err)
			}
			return nil
		case s := <-signals:
			switch s {
			case syscall.SIGUSR1:
				if !c.has("--suspendable") && !suspended {
					return fail("Suspending requires --suspendable")
				}
				if err := os.WriteFile(v.path("state.vzvmsave"), nil, 0o600); err != nil {
					return err
				}
			case syscall.SIGUSR2:
				return fail("the fake's guests ignore a request to shut down")
			}
			_ = guest.Process.Kill()
			<-ended
			return nil
		}
	}
}

func ip(c call) error {
	v, err := find(c.names[0])
	if err != nil {
		return err
	}
	wait, err := strconv.Atoi(c.last("--wait", "0"))
	if err != nil {
		return usage("The value '%s' is invalid for '--wait <wait>'", c.last("--wait", ""))
	}
	resolver := c.last("--resolver", "dhcp")
	if !slices.Contains([]string{"dhcp", "arp", "agent"}, resolver) {
		return usage("The value '%s' is invalid for '--resolver <resolver>'", resolver)
	}
	for until := time.Now().Add(time.Duration(wait) * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if v.pid() == 0 {
			return failure{exitState, fmt.Sprintf("VM %q is not running", c.names[0])}
		}
		if where := resolve(v, resolver); where != "" {
			fmt.Println(where)
			return nil
		}
		if !time.Now().Before(until) {
			note("ip")
			return fail("no IP address found")
		}
	}
}

// resolve knows which networks a resolver works on.
func resolve(v vm, resolver string) string {
	arguments, _ := os.ReadFile(v.path("arguments"))
	bridged := strings.Contains(string(arguments), "--net-bridged")
	softnet := strings.Contains(string(arguments), "--net-softnet")
	switch {
	case failing("ip"), resolver == "dhcp" && bridged, resolver == "arp" && softnet,
		resolver == "agent" && !fakeguest.HasAgent(v.root()):
		return ""
	}
	where, _ := os.ReadFile(v.path("address"))
	return string(where)
}

func stop(c call) error {
	v, err := find(c.names[0])
	if err != nil {
		return err
	}
	timeout, err := strconv.Atoi(c.last("-t", c.last("--timeout", "30")))
	if err != nil {
		return usage("The value is invalid for '--timeout <timeout>'")
	}
	pid := v.pid()
	if pid == 0 {
		if v.has("state.vzvmsave") {
			return os.Remove(v.path("state.vzvmsave"))
		}
		return failure{exitState, fmt.Sprintf("VM %q is not running", c.names[0])}
	}
	_ = syscall.Kill(pid, syscall.SIGINT)
	until := time.Now().Add(time.Duration(timeout) * time.Second)
	for ; time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if v.pid() == 0 {
			return nil
		}
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	for v.pid() == pid {
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

func suspend(c call) error {
	v, err := find(c.names[0])
	if err != nil {
		return err
	}
	pid := v.pid()
	if pid == 0 {
		return failure{exitState, fmt.Sprintf("VM \"VM %q is not running\" is not running", c.names[0])}
	}
	return syscall.Kill(pid, syscall.SIGUSR1)
}
