package doctor

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// Fixable are the findings that are not in order and have a safe command.
func Fixable(findings []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool { return f.Level == OK || !f.Safe })
}

// Fix runs the finding's command. The error has what the command said.
func (f Finding) Fix(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "sh", "-euc", f.Command).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mending %s by `%s`: %w: %s", f.What, f.Command, err, strings.TrimSpace(string(out)))
	}
	return nil
}
