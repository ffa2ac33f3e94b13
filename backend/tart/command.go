package tart

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// Errors of Tart, by what it says on its last line.
var (
	errNotExist   = errors.New("there is no such machine")
	errNotRunning = errors.New("the machine is not running")
	errLimit      = errors.New("macOS runs no more guests at once; after crashes the count may stick until the host is restarted")
)

// fixedPlaces are looked into after PATH: launchd gives a service none that
// has Homebrew in it.
var fixedPlaces = []string{"/opt/homebrew/bin/tart", "/usr/local/bin/tart"}

// findBinary returns "tart" itself where there is none, for the error.
func findBinary() string {
	if path, err := programs.Find("tart"); err == nil {
		return path
	}
	for _, path := range fixedPlaces {
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return "tart"
}

// tool is Tart with a home of its own.
type tool struct{ binary, home string }

// environment keeps Tart from removing cached images when space is short: the
// pool's own might be among them. CI makes progress plain lines.
func (t tool) environment() []string {
	return append(os.Environ(), "TART_HOME="+t.home, "TART_NO_AUTO_PRUNE=", "CI=true")
}

// killDelay is how long Tart may take to stop when its context has ended.
const killDelay = 10 * time.Second

// do runs Tart to its end and returns what it prints on stdout. If show is not
// nil, everything goes there instead.
func (t tool) do(ctx context.Context, show io.Writer, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, t.binary, args...)
	cmd.Env = t.environment()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = killDelay
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if show != nil { // one writer for both, so that they take turns
		all := io.MultiWriter(show, &stderr)
		cmd.Stdout, cmd.Stderr = all, all
	}
	err := cmd.Run()
	if err == nil {
		return stdout.String(), nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return "", fmt.Errorf("tart %s: %w", strings.Join(args, " "), explain(err, stderr.String()))
}

// errorLines is how many last lines of Tart's an error shows: before them may
// be a pull's progress.
const errorLines = 10

// explain puts what Tart said beside how it ended. Exit codes alone say too
// little: 2 has three meanings.
func explain(err error, said string) error {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	said = strings.Join(lines[max(0, len(lines)-errorLines):], "\n")
	var exit *exec.ExitError
	switch {
	case !errors.As(err, &exit):
	case exit.ExitCode() == 2 && strings.HasSuffix(said, "does not exist"):
		return fmt.Errorf("%w: %s", errNotExist, said)
	case exit.ExitCode() == 2 && strings.HasSuffix(said, "is not running"):
		return fmt.Errorf("%w: %s", errNotRunning, said)
	case strings.Contains(said, limitWords):
		return fmt.Errorf("%w: %s", errLimit, said)
	}
	if said == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, said)
}

const limitWords = "The number of VMs exceeds the system limit"

// dir is where Tart keeps a machine.
func (t tool) dir(name string) string { return filepath.Join(t.home, "vms", name) }

func (t tool) exists(name string) bool {
	_, err := os.Lstat(t.dir(name))
	return err == nil
}

// States of a machine.
const suspended = "suspended"

// listed is what counts of an entry of tart list.
type listed struct{ Source, Name, State string }

// list returns Tart's machines, source being local or oci. A machine that goes
// meanwhile may make the whole list fail, so it is asked for twice.
func (t tool) list(ctx context.Context, source string) ([]listed, error) {
	args := []string{"list", "--source", source, "--format", "json"}
	text, err := t.do(ctx, nil, args...)
	if err != nil && ctx.Err() == nil {
		text, err = t.do(ctx, nil, args...)
	}
	if err != nil {
		return nil, err
	}
	return parseList(text)
}

func parseList(text string) ([]listed, error) {
	var all []listed
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("reading tart list: %w", err)
	}
	return all, nil
}

// details is what counts of tart get.
type details struct {
	OS    string
	Disk  int // of 10^9 bytes
	State string
}

func (t tool) get(ctx context.Context, name string) (details, error) {
	text, err := t.do(ctx, nil, "get", name, "--format", "json")
	if err != nil {
		return details{}, err
	}
	var d details
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return details{}, fmt.Errorf("reading tart get %s: %w", name, err)
	}
	return d, nil
}
