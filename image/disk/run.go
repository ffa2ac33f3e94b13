//go:build linux

package disk

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// run runs a tool in the C locale and returns its standard output. The error has
// what the tool wrote to its standard error.
func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err == nil {
		return stdout.Bytes(), nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx) // rather than "signal: killed", which names no reason
	}
	if said := strings.TrimSpace(stderr.String()); said != "" {
		return nil, fmt.Errorf("%s: %w: %s", name, err, said)
	}
	return nil, fmt.Errorf("%s: %w", name, err)
}
