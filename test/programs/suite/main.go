// Command suite runs the tests of all packages as one run: what they share is
// made once and removed at the end, cheap packages come before long ones, and
// the run ends with the time of each package and its slowest tests. What a
// test is belongs to its package.
//
//	suite          every test
//	suite -quick   what needs neither an emulated machine nor a system made from
//	               packages; long packages come first then
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// timeout only ends a package that hangs, on the slowest machine too.
const timeout = "75m"

func main() {
	quick := flag.Bool("quick", false, "no emulated machine")
	flag.Parse()
	code, err := run(*quick)
	if err != nil {
		fmt.Fprintln(os.Stderr, "suite:", err)
	}
	os.Exit(code)
}

func run(quick bool) (code int, err error) {
	// The terminal interrupts go test as well, which ends by itself; what is
	// shared is removed after that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM)
	closeRun, err := testrun.Open()
	if err != nil {
		return 1, err
	}
	defer closeRun()
	if err := keepScreenshots(); err != nil {
		return 1, err
	}
	packages, err := list()
	if err != nil {
		return 1, err
	}
	events := filepath.Join(os.Getenv(testrun.Variable), "events.json")
	code, err = execute("go", arguments(packages, quick, events)...)
	if err != nil {
		return 1, err
	}
	file, err := os.Open(events)
	if err != nil {
		return 1, err
	}
	defer file.Close()
	times, err := read(file)
	if err != nil {
		return 1, fmt.Errorf("reading %s: %w", events, err)
	}
	times.print(os.Stdout)
	return code, nil
}

// keepScreenshots has tests keep them after the run, unless the environment says where.
func keepScreenshots() error {
	if os.Getenv(testrun.Screenshots) != "" {
		return nil
	}
	dir, err := filepath.Abs("dist/screenshots")
	if err != nil {
		return fmt.Errorf("finding where screenshots are kept: %w", err)
	}
	return os.Setenv(testrun.Screenshots, dir)
}

// list returns the packages of the module that have tests.
func list() ([]string, error) {
	const haveTests = "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}"
	text, err := exec.Command("go", "list", "-f", haveTests, "./...").Output()
	if err != nil {
		return nil, fmt.Errorf("listing the packages: %w", err)
	}
	return strings.Fields(string(text)), nil
}

// arguments run the packages, two side by side, with what happens written to a
// file as well.
func arguments(packages []string, quick bool, events string) []string {
	arguments := []string{
		"tool", "gotestsum", "--format", "pkgname-and-test-fails", "--hide-summary", "skipped", "--jsonfile", events,
		"--",
		"-race", "-count=1", "-p", "2", "-timeout", timeout,
	}
	ordered := order(packages)
	if quick { // nothing is shared then, and what takes longest begins first
		arguments = append(arguments, "-short")
		slices.Reverse(ordered)
	}
	return append(arguments, ordered...)
}

func execute(program string, arguments ...string) (code int, err error) {
	command := exec.Command(program, arguments...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	err = command.Run()
	if command.ProcessState == nil {
		return 1, err
	}
	return command.ProcessState.ExitCode(), nil
}
