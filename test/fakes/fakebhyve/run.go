//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/fakeguest"
)

// start runs the guest in the background; what fails there fails silently.
func start(args []string) error {
	if len(args) != 1 {
		return help("start NAME (the fake starts one at a time)")
	}
	name := args[0]
	fmt.Println("Starting " + name)
	switch {
	case !exists(store(name, name+".conf")):
		fmt.Printf("  ! %s does not seem to be a valid virtual machine\n", name)
		return failure{"", 1}
	case exists(vmm(name)):
		fmt.Println("  ! guest appears to be running already")
		return failure{"", 1}
	}
	fmt.Printf("  * found guest in %s\n  * booting...\n", store(name))
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "_run", name)
	cmd.Args[0] = "vm"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Start()
}

// runGuest is the shell that stays with a guest: it makes lock and device, and
// takes them away when the guest has ended.
func runGuest(args []string) error {
	name := args[0]
	log, err := os.OpenFile(store(name, "vm-bhyve.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	os.Stdout, os.Stderr = log, log
	c, err := guestConf(name)
	if err != nil {
		return err
	}
	if failing("start") {
		fmt.Fprintln(log, "Aug 20 10:00:00: fatal; unable to find switch public")
		return failure{"", 15}
	}
	if exists(store(name, "run.lock")) {
		fmt.Fprintln(log, "Aug 20 10:00:00: an old run.lock is here")
	}
	if c.get("network0_mac") == "" {
		violation("start of %s without a MAC of our own: nobody knows where it is", name)
		c.set("network0_mac", newMAC())
	}
	if c.get("on_restart") != "shutdown" {
		violation("start of %s, which a reboot starts again", name)
	}
	c.set("uuid", randomHex(16))
	if err := c.write(); err != nil {
		return err
	}
	return live(name, c)
}

func live(name string, c conf) error {
	lock := store(name, "run.lock")
	pid := strconv.Itoa(os.Getpid())
	if err := os.WriteFile(lock, []byte("host"), 0o644); err != nil {
		return err
	}
	time.Sleep(20 * time.Millisecond)
	if err := os.MkdirAll(filepath.Dir(vmm(name)), 0o755); err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	made := vmm("." + name) // the device is there at once, and whole
	if err := errors.Join(os.WriteFile(made, []byte(pid), 0o600), os.Rename(made, vmm(name))); err != nil {
		return err
	}
	defer func() {
		if !failing("vmm") {
			_ = os.Remove(vmm(name))
		}
		if !failing("lock") {
			_ = os.Remove(lock)
		}
	}()
	where, err := lease(c.get("network0_mac"), name)
	if err != nil {
		return err
	}
	if c.get("network0_mac") == "" {
		return errors.New("no MAC")
	}
	guest, err := fakeguest.Boot(store(name, "disk0"), where)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- guest.Wait() }()
	for {
		select {
		case err := <-ended:
			return err
		case s := <-signals:
			if s == syscall.SIGTERM && failing("acpi") {
				continue // the guest does not listen
			}
			_ = guest.Process.Kill()
			<-ended
			return nil
		}
	}
}

// signalGuest tells the shell of a guest that runs.
func signalGuest(name string, s syscall.Signal) bool {
	text, err := os.ReadFile(vmm(name))
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return err == nil && syscall.Kill(pid, s) == nil
}

func stop(args []string) error {
	if len(args) != 1 {
		return help("stop NAME")
	}
	if !signalGuest(args[0], syscall.SIGTERM) {
		fmt.Fprintf(os.Stderr, "/usr/local/sbin/vm: WARNING: %s doesn't appear to be a running virtual machine\n",
			args[0])
		return nil
	}
	fmt.Println("Sending ACPI shutdown to " + args[0])
	return nil
}

func poweroff(args []string) error {
	given, names, err := options(args, map[string]bool{"-f": false})
	if err != nil || len(names) != 1 {
		return help("poweroff [-f] NAME")
	}
	if given["-f"] == "" {
		violation("poweroff of %s without -f, whose question an empty input answers", names[0])
	}
	if !signalGuest(names[0], syscall.SIGINT) {
		return bad("%s doesn't appear to be a running virtual machine", names[0])
	}
	return nil
}

func bhyvectl(args []string) error {
	if len(args) != 2 || !strings.HasPrefix(args[0], "--vm=") || args[1] != "--destroy" {
		return failure{"bhyvectl: the fake knows --vm=NAME --destroy only", 64}
	}
	name := strings.TrimPrefix(args[0], "--vm=")
	if !exists(vmm(name)) {
		return failure{"bhyvectl: VM:" + name + " is not created.", 1}
	}
	signalGuest(name, syscall.SIGINT)
	return os.Remove(vmm(name))
}
