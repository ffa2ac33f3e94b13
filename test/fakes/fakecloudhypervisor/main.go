//go:build linux

package fakecloudhypervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// Build makes the program, by the name under which it is looked for, and
// returns its path.
func Build(dir string) (string, error) {
	path := filepath.Join(dir, "cloud-hypervisor")
	_, here, _, _ := runtime.Caller(0)
	build := exec.Command("go", "build", "-o", path, "./cloud-hypervisor")
	build.Dir = filepath.Dir(here)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the fake of Cloud Hypervisor: %w: %s", err, out)
	}
	return path, nil
}

// Main is the program. It returns the exit code.
func Main(arguments []string) int {
	runtime.LockOSThread() // machines end with the thread that started them
	o, err := parse(arguments)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 2 // as clap has it
	}
	switch {
	case o.version:
		fmt.Println("cloud-hypervisor", release())
		return 0
	case o.kernel != "":
		return probe(o)
	case !o.hasAPI:
		fmt.Fprintln(os.Stderr, "error: nothing to do without --api-socket")
		return 1
	}
	if err := serve(o); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		return 1
	}
	return 0
}

// probe plays the boot of a kernel without a root device: after the panic the
// machine reboots for ever.
func probe(o options) int {
	if !fails("probe") {
		text := "Kernel panic - not syncing: VFS: Unable to mount root fs (played)\r\n"
		if err := os.WriteFile(o.serial, []byte(text), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, "Error:", err)
			return 1
		}
	}
	time.Sleep(time.Minute) // whoever probes ends us before
	return 1
}

// serve serves the API until the machine or a call ends the program.
func serve(o options) error {
	if err := refusePower(); err != nil {
		return err
	}
	if o.logFile != "" {
		log, err := os.Create(o.logFile)
		if err != nil {
			return fmt.Errorf("creating log file: %w", err)
		}
		defer log.Close()
	}
	listener, err := net.FileListener(os.NewFile(uintptr(o.apiFD), "api"))
	if err != nil {
		return fmt.Errorf("serving the API: %w", err)
	}
	v := &vmm{end: make(chan struct{}), start: make(chan func())}
	if o.eventFD >= 0 {
		v.events = os.NewFile(uintptr(o.eventFD), "events")
	}
	v.event("vmm", "starting")
	server := &http.Server{Handler: v}
	go func() { _ = server.Serve(listener) }()
	for {
		select {
		case start := <-v.start:
			start()
		case <-v.end:
			ctx, cancel := context.WithTimeout(context.Background(), lastAnswer)
			defer cancel()
			_ = server.Shutdown(ctx) // one that hangs on an answer may miss it
			return nil
		}
	}
}

// lastAnswer bounds how long the answer to what ends the program is waited for.
const lastAnswer = 10 * time.Second

// event reports something, in the form of the real event monitor.
func (v *vmm) event(source, name string) {
	if v.events == nil {
		return
	}
	text, err := json.MarshalIndent(map[string]any{
		"timestamp": map[string]int64{"secs": time.Now().Unix(), "nanos": 0}, "source": source, "event": name,
		"properties": nil,
	}, "", "  ")
	if err == nil {
		_, err = v.events.Write(append(text, "\n\n"...))
	}
	if err != nil && !errors.Is(err, os.ErrClosed) {
		fmt.Fprintln(os.Stderr, "event monitor:", err)
	}
}
