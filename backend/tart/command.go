package tart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/foreigntool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// Errors of Tart, by what it says on its last line.
var (
	errNotExist   = errors.New("there is no such machine")
	errNotRunning = errors.New("the machine is not running")
	errLimit      = errors.New("macOS runs no more guests at once; after crashes the count may stick until a restart")
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

// do runs Tart to its end and returns what it prints on stdout. If show is not
// nil, everything goes there instead.
func (t tool) do(ctx context.Context, show io.Writer, args ...string) (string, error) {
	tart := foreigntool.Command{
		Line: append([]string{t.binary}, args...), Env: t.environment(), Stop: syscall.SIGINT, Grace: 10 * time.Second,
	}
	stdout, stderr, err := tart.Run(ctx, show)
	if err != nil {
		return "", fmt.Errorf("tart %s: %w", strings.Join(args, " "), explain(err, stderr))
	}
	return stdout, nil
}

// explain puts what Tart said beside how it ended. Exit codes alone say too
// little: 2 has three meanings.
func explain(err error, said string) error {
	said = foreigntool.LastLines(said)
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
