// Package doctor holds the form of what the command doctor reports: findings
// with a level, what was looked at, what was found, and how to mend it. Each
// package that needs something of the host looks for itself; nothing is looked
// for here but programs.
package doctor

import (
	"fmt"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// Level says how serious a finding is.
type Level string

// Levels of findings.
const (
	OK      Level = "ok"
	Warning Level = "warning" // works, but not as well as it could
	Missing Level = "missing" // does not work until it is mended
)

// Finding is one thing that Check looked at.
type Finding struct {
	Level Level `json:"level"`
	// What was looked at, such as "qemu-system-x86_64".
	What string `json:"what"`
	// Detail says what was found.
	Detail string `json:"detail"`
	// Mend says how to mend it; empty when there is nothing to mend.
	Mend string `json:"mend,omitempty"`
	// Command is the command of a shell that mends it, if one does.
	Command string `json:"command,omitempty"`
	// Safe says that nobody loses anything by the command: `doctor --fix` runs it.
	Safe bool `json:"safe,omitempty"`
	// Group is what the finding is about, with others, such as "network".
	Group string `json:"group,omitempty"`
}

func (f Finding) String() string {
	text := fmt.Sprintf("%-8s %s: %s", f.Level, f.What, f.Detail)
	if f.Mend != "" {
		text += "\n         mend: " + f.Mend
	}
	if f.Command != "" && f.Command != f.Mend {
		text += "\n         run:  " + f.Command
	}
	return text
}

// Grouped are findings of one group.
func Grouped(group string, findings ...Finding) []Finding {
	for i := range findings {
		findings[i].Group = group
	}
	return findings
}

// FindProgram looks for a program of the table in package programs, which says
// how to mend its absence.
func FindProgram(name string) Finding {
	path, err := programs.Find(name)
	if err != nil {
		mend, command := programs.Remedy(name), ""
		if programs.Packaged(name) {
			command = mend
		}
		return Finding{Level: Missing, What: name, Detail: "not found in PATH", Mend: mend, Command: command}
	}
	return Finding{Level: OK, What: name, Detail: path}
}
