//go:build linux

package hostfirewall

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Flush is a file of this host's configuration that has all rules removed, ours
// too, whenever the firewall is loaded anew.
type Flush struct {
	// File is where, and Line what says so, without comments.
	File, Line string
	// Unit says that the file is one of systemd's: Line is a setting of the service.
	Unit bool
	// Tables are those that the host's configuration makes, such as "inet filter".
	Tables []string
}

// rulesFiles are what distributions load when they boot: Debian, Arch and others;
// Fedora and its kin; Alpine; Gentoo.
var rulesFiles = []string{
	"/etc/nftables.conf", "/etc/sysconfig/nftables.conf", "/etc/nftables.nft", "/var/lib/nftables/rules-save",
}

// Directories of systemd's units; the first that has one decides.
var unitDirs = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

const unit = "nftables.service"

// Flushes looks for such files below a root directory. What is not there flushes
// nothing.
func Flushes(root string) ([]Flush, error) {
	files := configuration{root: root}
	var errs []error
	for _, file := range rulesFiles {
		errs = append(errs, files.readRules(file))
	}
	errs = append(errs, files.readUnit())
	for n := range files.flushes {
		files.flushes[n].Tables = files.tables
	}
	return files.flushes, errors.Join(errs...)
}

// configuration is what was read so far.
type configuration struct {
	root    string
	seen    []string
	tables  []string
	flushes []Flush
}

// read returns the statements of a file: its lines, without comments.
func (c *configuration) read(file string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(c.root, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the host's firewall: %w", err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines, nil
}

// readRules reads a file of nft's, and those that it includes.
func (c *configuration) readRules(file string) error {
	if slices.Contains(c.seen, file) {
		return nil
	}
	c.seen = append(c.seen, file)
	lines, err := c.read(file)
	if err != nil {
		return err
	}
	var errs []error
	for _, line := range lines {
		for statement := range strings.SplitSeq(line, ";") {
			statement, _, _ = strings.Cut(statement, "{")
			words := strings.Fields(statement)
			if len(words) > 1 && (words[0] == "add" || words[0] == "create") && words[1] == "table" {
				words = words[1:]
			}
			switch {
			case flushesOurs(words):
				c.flushes = append(c.flushes, Flush{File: file, Line: strings.Join(words, " ")})
			case len(words) == 2 && words[0] == "include":
				errs = append(errs, c.include(strings.Trim(words[1], `"'`)))
			case len(words) > 1 && words[0] == "table":
				c.addTable(words[1:])
			}
		}
	}
	return errors.Join(errs...)
}

// flushesOurs tells the commands that remove tables of the family inet.
func flushesOurs(words []string) bool {
	isFlush := len(words) > 1 && words[0] == "flush" && words[1] == "ruleset"
	return isFlush && (len(words) == 2 || words[2] == "inet")
}

// include reads files that a file names as nft does: several by a pattern, and below
// /etc unless the name says where.
func (c *configuration) include(pattern string) error {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join("/etc", pattern)
	}
	found, err := filepath.Glob(filepath.Join(c.root, pattern))
	if err != nil {
		return fmt.Errorf("reading the host's firewall: include %q: %w", pattern, err)
	}
	var errs []error
	for _, path := range found {
		errs = append(errs, c.readRules("/"+strings.TrimPrefix(strings.TrimPrefix(path, c.root), "/")))
	}
	return errors.Join(errs...)
}

// addTable takes note of a table that is made: "inet filter", or without the
// family, which is ip.
func (c *configuration) addTable(words []string) {
	if len(words) == 1 {
		words = []string{"ip", words[0]}
	}
	if table := strings.Join(words[:2], " "); !slices.Contains(c.tables, table) {
		c.tables = append(c.tables, table)
	}
}

// readUnit looks at what systemd does to stop or restart the service. Settings of
// drop-ins come after those of the unit, and an empty one undoes those before it.
func (c *configuration) readUnit() error {
	var files []string
	for _, dir := range unitDirs {
		path := filepath.Join(dir, unit)
		if _, err := os.Stat(filepath.Join(c.root, path)); err == nil {
			files = append(files, path)
			break
		}
	}
	for _, dir := range unitDirs {
		dropIns, err := filepath.Glob(filepath.Join(c.root, dir, unit+".d", "*.conf"))
		if err != nil {
			return fmt.Errorf("looking for drop-ins of %s: %w", unit, err)
		}
		for _, path := range dropIns {
			files = append(files, "/"+strings.TrimPrefix(strings.TrimPrefix(path, c.root), "/"))
		}
	}
	var found []Flush
	for _, file := range files {
		lines, err := c.read(file)
		if err != nil {
			return err
		}
		for _, line := range lines {
			key, command, ok := strings.Cut(line, "=")
			key, command = strings.TrimSpace(key), strings.TrimSpace(command)
			switch {
			case !ok || !strings.HasPrefix(key, "Exec"):
			case command == "":
				found = slices.DeleteFunc(found, func(f Flush) bool { return strings.HasPrefix(f.Line, key+"=") })
			case strings.Contains(command, "flush ruleset"):
				found = append(found, Flush{File: file, Line: key + "=" + command, Unit: true})
			}
		}
	}
	c.flushes = append(c.flushes, found...)
	return nil
}

// Instead returns what to write, or to run, so that the host's own tables are
// loaded anew and ours stay.
func (f Flush) Instead() string {
	if f.Unit {
		return f.insteadInUnit()
	}
	if len(f.Tables) == 0 {
		return fmt.Sprintf("remove %q from %s", f.Line, f.File)
	}
	return fmt.Sprintf("in %s, write these lines in the place of %q:\n%s", f.File, f.Line, f.deleteTables())
}

// insteadInUnit has nothing done to stop the service, where rules may stay. What else
// a service does must go on but for the flush, which only people can write.
func (f Flush) insteadInUnit() string {
	key, _, _ := strings.Cut(f.Line, "=")
	if key == "ExecStop" {
		return fmt.Sprintf(`mkdir -p /etc/systemd/system/%[1]s.d && printf '[Service]\nExecStop=\n' `+
			`>/etc/systemd/system/%[1]s.d/keep-mayfly.conf && systemctl daemon-reload`, unit)
	}
	instead := fmt.Sprintf("run systemctl edit %s, and write below [Service] %q, "+
		"and then %s again without \"flush ruleset\"", unit, key+"=", f.Line)
	if len(f.Tables) == 0 {
		return instead
	}
	return instead + "; begin the file that it loads with these lines:\n" + f.deleteTables()
}

// deleteTables are lines for nft; what is not there cannot be deleted.
func (f Flush) deleteTables() string {
	var lines []string
	for _, table := range f.Tables {
		lines = append(lines, "table "+table, "delete table "+table)
	}
	return strings.Join(lines, "\n")
}
