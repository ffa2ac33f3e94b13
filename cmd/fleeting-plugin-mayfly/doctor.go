package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
)

type doctorCommand struct {
	configuration
	Fix  bool `help:"Show the commands that mend what may be mended safely, ask, and run them."`
	Yes  bool `help:"With --fix: do not ask."`
	JSON bool `help:"Print one JSON document."`
}

// Validate is called by the command line's parser.
func (c doctorCommand) Validate() error {
	if c.Yes && !c.Fix {
		return errors.New("--yes answers what --fix asks: add --fix")
	}
	return nil
}

// diagnosis is what doctor says to machines.
type diagnosis struct {
	Backend  string           `json:"backend"`
	Findings []doctor.Finding `json:"findings"`
}

// Run prints every finding, and fails when something is missing. What was mended is
// looked at again.
func (c doctorCommand) Run(ctx context.Context, s *streams, h *host.Host) error {
	settings, _, err := c.load()
	if err != nil {
		return err
	}
	name, findings, err := h.Check(ctx, settings, s.log)
	if err != nil {
		return err
	}
	if c.Fix {
		mended, err := c.fix(ctx, s, doctor.Fixable(findings))
		if err != nil {
			return err
		}
		if mended {
			if name, findings, err = h.Check(ctx, settings, s.log); err != nil {
				return err
			}
		}
	}
	if c.JSON {
		err = s.document(diagnosis{name, findings})
	} else {
		printDiagnosis(s.out, name, findings)
	}
	if err == nil && host.Missing(findings) != nil {
		err = errSilent
	}
	return err
}

// printDiagnosis has a heading for each group.
func printDiagnosis(out io.Writer, backend string, findings []doctor.Finding) {
	fmt.Fprintf(out, "backend %s\n", backend)
	group := ""
	for _, finding := range findings {
		if finding.Group != group {
			group = finding.Group
			fmt.Fprintf(out, "\n%s\n", group)
		}
		fmt.Fprintln(out, finding)
	}
}

// fix shows the commands, and runs them if it may. One that fails does not keep it from
// the others.
func (c doctorCommand) fix(ctx context.Context, s *streams, findings []doctor.Finding) (mended bool, err error) {
	if len(findings) == 0 {
		fmt.Fprintln(s.err, "there is nothing that may be mended safely")
		return false, nil
	}
	for _, f := range findings {
		fmt.Fprintf(s.err, "%s: %s\n  %s\n", f.What, f.Detail, f.Command)
	}
	if !c.Yes {
		if !term.IsTerminal(int(os.Stdin.Fd())) {
			return false, usageError{errors.New("--fix asks on a terminal, and this is none: add --yes")}
		}
		if !confirm(os.Stdin, s.err, fmt.Sprintf("run %d commands?", len(findings))) {
			return false, nil
		}
	}
	defer preferThisProgram()()
	for _, f := range findings {
		if err := f.Fix(ctx); err != nil {
			fmt.Fprintln(s.err, err)
		} else {
			fmt.Fprintf(s.err, "done: %s\n", f.Command)
		}
	}
	return true, ctx.Err()
}

// confirm takes nothing but yes for a yes.
func confirm(in io.Reader, out io.Writer, question string) bool {
	fmt.Fprintf(out, "%s [y/N] ", question)
	answer, _ := bufio.NewReader(in).ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(answer), "y") || strings.EqualFold(strings.TrimSpace(answer), "yes")
}

// preferThisProgram has commands that name this program find it, until undo.
func preferThisProgram() (undo func()) {
	before := os.Getenv("PATH")
	if self, err := os.Executable(); err == nil {
		_ = os.Setenv("PATH", filepath.Dir(self)+string(os.PathListSeparator)+before)
	}
	return func() { _ = os.Setenv("PATH", before) }
}
