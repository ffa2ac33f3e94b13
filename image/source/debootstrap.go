// Package source fetches what a recipe's source names into a work directory:
// a root file system made from packages, or the file of a cloud image. What
// becomes of it, a disk and a golden image, is made elsewhere.
package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/source/apt"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// RootDir is the directory below a work directory in which Debootstrap makes
// the root file system.
const RootDir = image.TreeDir

// Debootstrap makes root file systems from the packages of the host's own
// distribution, with mmdebstrap. The zero value reads the host's settings
// where they usually are.
type Debootstrap struct {
	AptDir    string // default /etc/apt
	OSRelease string // default /etc/os-release
	// Container leaves out what only a machine of its own needs to boot.
	Container bool
}

// Make makes the root file system of the recipe in dir/root; output gets each
// line that mmdebstrap writes. It wants root. The result has the host's
// package sources and their lists, so that a step can install packages at once,
// and neither its proxy, its name nor its resolver.
func (d Debootstrap) Make(ctx context.Context, recipe image.Recipe, dir string, output func(line string)) (err error) {
	plan, err := d.plan(ctx, recipe, dir)
	if err != nil {
		return fmt.Errorf("preparing mmdebstrap: %w", err)
	}
	defer func() { err = errors.Join(err, plan.removeFiles()) }()
	if err := plan.writeFiles(); err != nil {
		return fmt.Errorf("preparing mmdebstrap: %w", err)
	}
	if err := runMmdebstrap(ctx, plan.arguments(), output); err != nil {
		return fmt.Errorf("making a root file system of %s %s: %w", plan.distribution, plan.suite, err)
	}
	return nil
}

// plan reads the host's settings; nothing is changed yet.
func (d Debootstrap) plan(ctx context.Context, recipe image.Recipe, dir string) (plan, error) {
	release, err := os.ReadFile(orDefault(d.OSRelease, "/etc/os-release"))
	if err != nil {
		return plan{}, err
	}
	host, err := apt.ParseOSRelease(string(release))
	if err != nil {
		return plan{}, err
	}
	entries, err := apt.Read(orDefault(d.AptDir, "/etc/apt"))
	if err != nil {
		return plan{}, err
	}
	own := host.Own(entries)
	if len(own) == 0 {
		return plan{}, fmt.Errorf("the package sources of this host name no archive of %s %s that a guest could reach", host.ID, host.Codename)
	}
	transport, err := transportSettings(ctx)
	if err != nil {
		return plan{}, err
	}
	packages, err := d.packages(host.ID)
	if err != nil {
		return plan{}, err
	}
	suite := orDefault(recipe.Source.Suite, host.Codename)
	return plan{
		dir:          dir,
		distribution: host.ID,
		suite:        suite,
		packages:     append(packages, recipe.Packages...),
		sources:      apt.Render(host.For(suite, own)),
		transport:    transport,
	}, nil
}

func (d Debootstrap) packages(distribution string) ([]string, error) {
	if d.Container {
		return basePackages(), nil
	}
	kernel, err := kernelPackage(distribution, runtime.GOARCH)
	return append(append(basePackages(), bootPackages()...), kernel), err
}

func transportSettings(ctx context.Context) (string, error) {
	dump, err := exec.CommandContext(ctx, "apt-config", "dump", "Acquire").Output()
	if err != nil {
		return "", fmt.Errorf("asking apt-config for its proxy: %w", err)
	}
	return apt.TransportSettings(string(dump)), nil
}

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

// runMmdebstrap runs it alone: a run that is killed leaves nothing mounted
// below the root, where a later removal would find it, and nothing that goes
// on writing there.
func runMmdebstrap(ctx context.Context, args []string, output func(string)) error {
	mmdebstrap, err := programs.Find("mmdebstrap")
	if err != nil {
		return err
	}
	said := lines.New(output)
	cmd := exec.CommandContext(ctx, mmdebstrap, args...)
	// INITRD=No is how Debian's and Ubuntu's kernel hooks are told not to make
	// an initrd. They are told this once; a kernel that is installed later in
	// the guest gets its initrd.
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "INITRD=No")
	cmd.Stdout, cmd.Stderr = said, said
	err = runAlone(cmd)
	said.Flush()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("mmdebstrap: %w%s", err, said.Quote())
	}
	return nil
}

// plan is everything that decides what mmdebstrap does.
type plan struct {
	dir          string
	distribution string
	suite        string
	packages     []string
	sources      string
	transport    string
}

// The settings go through files: a proxy's password does not belong on a
// command line that everyone on the host may read.
func (p plan) sourcesFile() string   { return filepath.Join(p.dir, "apt.sources") }
func (p plan) transportFile() string { return filepath.Join(p.dir, "apt.conf") }

func (p plan) writeFiles() error {
	return errors.Join(
		os.WriteFile(p.sourcesFile(), []byte(p.sources), 0o600),
		os.WriteFile(p.transportFile(), []byte(p.transport), 0o600),
	)
}

func (p plan) removeFiles() error {
	return errors.Join(removeIfThere(p.sourcesFile()), removeIfThere(p.transportFile()))
}

func (p plan) arguments() []string {
	return mmdebstrap(p.suite, filepath.Join(p.dir, RootDir), strings.Join(p.packages, ","), p.sourcesFile(), p.transportFile())
}
