//go:build linux

package vmm

import (
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/bootlog"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
)

// watch notes a disk that cannot be written to, and the reason of the machine's end
// while its files are still there. What was said of the end may arrive a moment after
// it.
func (m *machine) watch(log *slog.Logger) {
	var diskErrors <-chan error
	if reporter, ok := m.monitor.(DiskReporter); ok {
		diskErrors = reporter.DiskErrors()
	}
	select {
	case err := <-diskErrors:
		m.noteDiskError(err, log)
	case <-m.process.Done():
	}
	<-m.process.Done()
	select {
	case <-m.monitor.Heard():
	case <-time.After(endDelay):
	}
	select {
	case err := <-diskErrors:
		m.noteDiskError(err, log)
	default:
	}
	words, _ := m.monitor.End()
	m.end = m.blameDisk(m.explainEnd(words))
	close(m.ended)
}

// explainEnd tells what the guest has done from what was done to its machine. words
// are the program's, if it said any.
func (m *machine) explainEnd(words string) error {
	switch words {
	case Rebooted, Panicked: // with panic=-1 a kernel reboots after its panic
		if failure := bootlog.KernelFailure(m.spec.Console); failure.Words != "" {
			return guest.Fault(fmt.Errorf("%w: %s%s", guest.ErrGone, kernelWords(words, failure), failure.Quote))
		}
		fallthrough
	case PoweredOff:
		return guest.Fault(fmt.Errorf("%w: %s%s", guest.ErrGone, words, lines.Tail(m.spec.Console)))
	case "":
		words = m.lastLine()
	default:
		words = ": " + words
	}
	return fmt.Errorf("%w: %s %w%s%s%s", guest.ErrGone, m.traits.Name, m.process.Err(), words,
		m.killer(), lines.Tail(m.spec.Console))
}

// kernelWords prefers what the kernel said of its failure. An oops need not be why
// a guest rebooted.
func kernelWords(words string, failure bootlog.Failure) string {
	if words == Rebooted && !failure.Panic {
		return words + ", after a " + failure.Words
	}
	return failure.Words
}

// lastLine is the last line of the first log of the program that has one.
func (m *machine) lastLine() string {
	for _, name := range m.traits.Logs {
		if line := bootlog.LastLine(filepath.Join(m.dir, name)); line != "" {
			return line
		}
	}
	return ""
}

// killer says who killed the process with a signal that no guest can cause.
func (m *machine) killer() string {
	var exit *exec.ExitError
	if !errors.As(m.process.Err(), &exit) {
		return ""
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	switch {
	case !ok || status.Signal() != syscall.SIGKILL:
		return ""
	case m.units.MemoryKills(m.id) > 0:
		return ", by the kernel, at the memory limit of its control group"
	}
	return ", by somebody on this host, or by its kernel for want of memory"
}
