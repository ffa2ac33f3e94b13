package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// build makes the program for all platforms. Each is there twice, as one file with two
// names: one that says what it is, for those who fetch it, and the one of fleeting's
// artifact.
func (r release) build(ctx context.Context) error {
	for _, p := range r.platforms {
		binary := r.path(p.binary())
		if err := r.compile(ctx, p, binary); err != nil {
			return err
		}
		if err := errors.Join(os.Chmod(binary, 0o755), os.Chtimes(binary, r.made, r.made)); err != nil {
			return err
		}
		plugin := filepath.Join(r.dir, p.os, p.arch, "plugin")
		if err := os.MkdirAll(filepath.Dir(plugin), 0o755); err != nil {
			return err
		}
		if err := os.Link(binary, plugin); err != nil {
			return err
		}
	}
	return nil
}

// compile makes the program for one platform. Nothing of the machine that it is made on
// goes into it: no path, no state of a checkout, no instructions that only this
// processor has.
func (r release) compile(ctx context.Context, p platform, binary string) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X main.version="+r.version, "-o", binary, "./cmd/"+program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.os, "GOARCH="+p.arch, "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=-mod=readonly", "GOEXPERIMENT=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the program for %s: %w\n%s", p, err, out)
	}
	return nil
}
