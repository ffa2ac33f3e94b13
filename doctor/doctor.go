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
}

func (f Finding) String() string {
	text := fmt.Sprintf("%-8s %s: %s", f.Level, f.What, f.Detail)
	if f.Mend != "" {
		text += "\n         mend: " + f.Mend
	}
	return text
}

// FindProgram looks for a program of the table in package programs, which says
// how to mend its absence.
func FindProgram(name string) Finding {
	path, err := programs.Find(name)
	if err != nil {
		return Finding{Level: Missing, What: name, Detail: "not found in PATH", Mend: programs.Remedy(name)}
	}
	return Finding{Level: OK, What: name, Detail: path}
}
