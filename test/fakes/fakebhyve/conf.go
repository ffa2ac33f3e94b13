//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

// conf is a file of shell assignments: a guest's, or rc.conf.
type conf struct {
	path  string
	lines []string
}

func readConf(path string) (conf, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return conf{}, err
	}
	c := conf{path: path}
	for line := range strings.Lines(string(text)) {
		c.lines = append(c.lines, strings.TrimSpace(line))
	}
	return c, nil
}

func (c *conf) get(key string) string {
	value := ""
	for _, line := range c.lines {
		if k, v, _ := strings.Cut(line, "="); k == key {
			value = strings.Trim(v, `"`)
		}
	}
	return value
}

func (c *conf) set(key, value string) {
	c.remove(key)
	c.lines = append(c.lines, fmt.Sprintf("%s=%q", key, value))
}

func (c *conf) remove(key string) {
	var kept []string
	for _, line := range c.lines {
		if k, _, _ := strings.Cut(line, "="); k != key {
			kept = append(kept, line)
		}
	}
	c.lines = kept
}

func (c *conf) write() error {
	return os.WriteFile(c.path, []byte(strings.Join(c.lines, "\n")+"\n"), 0o644)
}

func guestConf(name string) (conf, error) { return readConf(store(name, name+".conf")) }

// assignment is a line that vm-bhyve reads: others, it drops.
var assignment = regexp.MustCompile(`^([a-z][a-z0-9_]*)=([^#]*)$`)

// sysrc edits such files: -n prints a value of rc.conf.
func sysrc(args []string) error {
	if len(args) == 2 && args[0] == "-n" {
		rc, err := readConf(world("rc.conf"))
		if err != nil {
			return err
		}
		if value := rc.get(args[1]); value != "" {
			fmt.Println(value)
			return nil
		}
		return failure{"sysrc: unknown variable '" + args[1] + "'", 1}
	}
	if len(args) < 3 || args[0] != "-f" {
		return failure{"Usage: sysrc [OPTIONS] name[=value] ...", 1}
	}
	c, err := readConf(args[1])
	if err != nil {
		return err
	}
	for _, arg := range args[2:] {
		match := assignment.FindStringSubmatch(arg)
		if match == nil {
			return failure{"sysrc: bad assignment " + arg, 1}
		}
		fmt.Printf("%s: %s -> %s\n", match[1], c.get(match[1]), match[2])
		c.set(match[1], match[2])
	}
	return c.write()
}

func zfs(args []string) error {
	if len(args) != 6 || strings.Join(args[:5], " ") != "get -H -o value mountpoint" {
		return failure{"zfs: the fake knows 'get -H -o value mountpoint DATASET' only", 2}
	}
	if args[5] != "zroot/vm" {
		return failure{"cannot open '" + args[5] + "': dataset does not exist", 1}
	}
	fmt.Println(store())
	return nil
}

func pkg(args []string) error {
	if strings.Join(args, " ") != "query %v vm-bhyve" {
		return failure{"pkg: the fake knows 'query %v vm-bhyve' only", 1}
	}
	fmt.Println("1.7.5")
	return nil
}

// sudo obeys the rules in the world's sudoers as the real one does, as far as
// they have wildcards: a star is any text, also over several arguments.
func sudo(args []string) error {
	if len(args) < 2 || args[0] != "-n" {
		return failure{"sudo: a terminal is required to read the password", 1}
	}
	text, err := os.ReadFile(world("sudoers"))
	if err != nil {
		return err
	}
	wanted := strings.Join(args[1:], " ")
	for line := range strings.Lines(string(text)) {
		_, pattern, _ := strings.Cut(strings.TrimSpace(line), "NOPASSWD: ")
		if pattern != "" && wildcards(pattern).MatchString(wanted) {
			return run(args[1], args[2:]...)
		}
	}
	return failure{"sudo: a password is required for: " + wanted, 1}
}

func wildcards(pattern string) *regexp.Regexp {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\' && i+1 < len(pattern):
			i++
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		case c == '*':
			b.WriteString(".*")
		case c == '?':
			b.WriteString(".")
		case c == ':' || c == '=' || c == ',':
			return regexp.MustCompile(`^\b$`) // must be escaped: such a rule matches nothing
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	return regexp.MustCompile("^" + b.String() + "$")
}
