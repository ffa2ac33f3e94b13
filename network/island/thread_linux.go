package island

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
)

// Do runs f on a thread inside the network namespace at the path. Goroutines
// that f starts are outside.
func Do(namespacePath string, f func() error) error {
	ns, err := netns.GetFromPath(namespacePath)
	if err != nil {
		return fmt.Errorf("opening network namespace %s: %w", namespacePath, err)
	}
	defer ns.Close()
	return onThread(func() error {
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("entering network namespace %s: %w", namespacePath, err)
		}
		return f()
	})
}

// onThread runs f on a thread whose network namespace f may change. A thread
// that cannot be brought back stays locked and ends with its goroutine, so that
// no other goroutine ever runs in a namespace by accident.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("ended in the midst of it") // as the goroutine of a failing test does
		defer func() { done <- err }()
		runtime.LockOSThread()
		home, failed := netns.Get()
		if failed != nil {
			err = fmt.Errorf("opening the thread's own network namespace: %w", failed)
			return
		}
		defer home.Close()
		err = f()
		if failed := netns.Set(home); failed != nil {
			err = errors.Join(err, fmt.Errorf("leaving the network namespace: %w", failed))
			return
		}
		runtime.UnlockOSThread()
	}()
	return <-done
}
