//go:build linux

// Command faketart plays Tart, the tool for virtual machines on macOS, for
// tests on Linux: its command line, files, states and exit codes as they are in
// the real one's source. Its guests are those of package fakeguest. It is
// strict: what Tart refuses it refuses, and what Tart lets pass although it
// harms, such as a clone over an existing machine, it writes down as a
// violation, for the test to find.
//
// Its world is $TART_HOME, as the real one's, and $MAYFLY_FAKE_TART, which is
// all else that a Mac has: the registry, the addresses, and what is to fail.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/fakeguest"
)

// Exit codes of Tart.
const (
	exitRuntime = 1
	exitState   = 2
	exitUsage   = 64
)

// failure is an error with its exit code.
type failure struct {
	code int
	text string
}

func (f failure) Error() string { return f.text }

func fail(format string, args ...any) error {
	return failure{exitRuntime, fmt.Sprintf(format, args...)}
}

func usage(format string, args ...any) error {
	return failure{exitUsage, "Error: " + fmt.Sprintf(format, args...) + "\nUsage: tart <subcommand>"}
}

func missing(name string) error {
	return failure{exitState, fmt.Sprintf("the specified VM %q does not exist", name)}
}

func main() {
	fakeguest.Main()
	if err := tart(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		var f failure
		if errors.As(err, &f) {
			os.Exit(f.code)
		}
		os.Exit(exitRuntime)
	}
}

// command is one subcommand: how many names it wants, which options there are
// (with true for those that take a value), and what it does.
type command struct {
	names   int
	options map[string]bool
	do      func(call) error
}

func commands() map[string]command {
	pulling := map[string]bool{"--insecure": false, "--concurrency": true}
	cloning := map[string]bool{"--insecure": false, "--concurrency": true, "--prune-limit": true}
	setting := map[string]bool{
		"--cpu": true, "--memory": true, "--display": true, "--display-refit": false, "--no-display-refit": false,
		"--random-mac": false, "--random-serial": false, "--disk": true, "--disk-size": true,
	}
	return map[string]command{
		"clone":   {2, cloning, clone},
		"set":     {1, setting, set},
		"run":     {1, runOptions, runVM},
		"ip":      {1, map[string]bool{"--wait": true, "--resolver": true}, ip},
		"stop":    {1, map[string]bool{"--timeout": true, "-t": true}, stop},
		"suspend": {1, nil, suspend},
		"delete":  {1, nil, remove},
		"rename":  {2, nil, rename},
		"list":    {0, map[string]bool{"--source": true, "--format": true, "-q": false}, list},
		"get":     {1, map[string]bool{"--format": true}, get},
		"pull":    {1, pulling, pull},
		"fqn":     {1, nil, fqn},
	}
}

// call is a command line taken apart.
type call struct {
	names   []string
	options map[string][]string
}

func (c call) has(option string) bool { return len(c.options[option]) > 0 }

func (c call) last(option, otherwise string) string {
	if values := c.options[option]; len(values) > 0 {
		return values[len(values)-1]
	}
	return otherwise
}

func tart(args []string) error {
	if len(args) == 1 && args[0] == "--version" {
		fmt.Println("2.99.0-fake")
		return nil
	}
	if len(args) == 0 {
		return usage("Missing expected argument '<subcommand>'")
	}
	known, ok := commands()[args[0]]
	if !ok {
		return usage("Unexpected argument '%s'", args[0])
	}
	c, err := parse(known, args[1:])
	if err != nil {
		return err
	}
	return known.do(c)
}

func parse(known command, args []string) (call, error) {
	c := call{options: map[string][]string{}}
	for i := 0; i < len(args); i++ {
		name, value, joined := strings.Cut(args[i], "=")
		takes, ok := known.options[name]
		switch {
		case !strings.HasPrefix(name, "-"):
			c.names = append(c.names, args[i])
		case !ok:
			return c, usage("Unknown option '%s'", name)
		case !takes && joined:
			return c, usage("The option '%s' does not take any value", name)
		case !takes:
			c.options[name] = append(c.options[name], "")
		case joined:
			c.options[name] = append(c.options[name], value)
		case i+1 < len(args):
			i++
			c.options[name] = append(c.options[name], args[i])
		default:
			return c, usage("Missing value for '%s'", name)
		}
	}
	if len(c.names) != known.names {
		return c, usage("%d names where %d are expected", len(c.names), known.names)
	}
	return c, nil
}
