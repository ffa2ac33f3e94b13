//go:build linux

package debootstrap

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/source/debootstrap/apt"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// Maker makes root file systems. The zero value reads the host's settings where
// they usually are, and makes systems for virtual machines.
type Maker struct {
	AptDir    string // default /etc/apt
	OSRelease string // default /etc/os-release
	// Container leaves out what only a virtual machine needs to boot.
	Container bool
}

// Make makes the root file system of the recipe in the directory image.TreeDir
// of dir; output gets each line that mmdebstrap writes. It needs root. The
// result has the host's package sources and their lists, so that a prebuild
// step can install packages at once. It has neither the host's proxy nor its
// name nor its resolver.
func (m Maker) Make(ctx context.Context, recipe image.Recipe, dir string, output func(line string)) (err error) {
	plan, err := m.plan(ctx, recipe)
	if err != nil {
		return fmt.Errorf("preparing mmdebstrap: %w", err)
	}
	// The settings go through files: a proxy's password does not belong on a
	// command line that everyone on the host may read.
	sources, transport := filepath.Join(dir, "apt.sources"), filepath.Join(dir, "apt.conf")
	trusted := filepath.Join(dir, "apt.pem")
	defer func() {
		err = errors.Join(err, os.RemoveAll(sources), os.RemoveAll(transport), os.RemoveAll(trusted))
	}()
	reach, err := reach(recipe, trusted)
	if err != nil {
		return fmt.Errorf("preparing mmdebstrap: %w", err)
	}
	err = errors.Join(
		os.WriteFile(sources, []byte(plan.sources), 0o600),
		os.WriteFile(transport, []byte(plan.transport+reach), 0o600),
	)
	if err != nil {
		return fmt.Errorf("preparing mmdebstrap: %w", err)
	}
	root, packages := filepath.Join(dir, image.TreeDir), strings.Join(plan.packages, ",")
	args := mmdebstrap(recipe.Source, plan.suite, root, packages, sources, transport)
	if err := runMmdebstrap(ctx, args, recipe.GivesWay, output); err != nil {
		return fmt.Errorf("making a root file system of %s %s: %w", plan.distribution, plan.suite, err)
	}
	if err := passCaches(root, plan.mirrors); err != nil {
		return fmt.Errorf("naming the mirrors behind this host's package cache: %w", err)
	}
	if err := copyKeys(root, plan.keys); err != nil {
		return fmt.Errorf("copying the keys of image.extra_sources: %w", err)
	}
	return nil
}

// Ingredients are all that decides the root file system of the recipe, except for what
// the mirrors hold: a text that is another when it would be.
func (m Maker) Ingredients(ctx context.Context, recipe image.Recipe) (string, error) {
	plan, err := m.plan(ctx, recipe)
	if err != nil {
		return "", fmt.Errorf("preparing mmdebstrap: %w", err)
	}
	args := mmdebstrap(recipe.Source, plan.suite, "root", strings.Join(plan.packages, ","), "sources", "transport")
	keys, err := digestKeys(plan.keys)
	if err != nil {
		return "", fmt.Errorf("reading the keys of image.extra_sources: %w", err)
	}
	return strings.Join(append(args, plan.sources, keys), "\n"), nil
}

// digestKeys stands for the content of the files, which come into the image.
func digestKeys(files []string) (string, error) {
	sum := sha256.New()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n%s", file, len(text), text)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// plan is everything that decides what mmdebstrap does.
type plan struct {
	distribution string
	suite        string
	packages     []string
	sources      string // a file in the deb822 style
	transport    string // a file of apt.conf(5)
	// mirrors stand behind caches that only this host reaches, by the URIs of these.
	mirrors map[string]string
	// keys are files of this host by which other archives are checked.
	keys []string
}

// plan reads the host's settings; nothing is changed yet.
func (m Maker) plan(ctx context.Context, recipe image.Recipe) (plan, error) {
	host, own, err := m.own()
	if err != nil {
		return plan{}, err
	}
	dump, err := exec.CommandContext(ctx, "apt-config", "dump", "Acquire").Output()
	if err != nil {
		return plan{}, fmt.Errorf("asking apt-config for its proxy: %w", err)
	}
	packages, err := m.packages(host.ID, recipe)
	if err != nil {
		return plan{}, err
	}
	suite := cmp.Or(recipe.Source.Suite, host.Codename)
	sources, err := sourcesOf(recipe.Source, host.For(suite, own))
	if err != nil {
		return plan{}, err
	}
	mirrors, _ := apt.BehindCaches(sources)
	return plan{
		mirrors:      mirrors,
		keys:         keysOf(sources[len(sources)-len(recipe.Source.ExtraSources):]),
		distribution: host.ID,
		suite:        suite,
		packages:     slices.Concat(packages, recipe.Packages),
		sources:      apt.Render(sources),
		transport:    apt.TransportSettings(string(dump)),
	}, nil
}

// own are the host's distribution, and the sources of its archive.
func (m Maker) own() (host apt.Distribution, own []apt.Entry, err error) {
	release, err := os.ReadFile(cmp.Or(m.OSRelease, "/etc/os-release"))
	if err != nil {
		return host, nil, err
	}
	if host, err = apt.ParseOSRelease(string(release)); err != nil {
		return host, nil, err
	}
	entries, err := apt.Read(cmp.Or(m.AptDir, "/etc/apt"))
	if err != nil {
		return host, nil, err
	}
	if own = host.Own(entries); len(own) == 0 {
		return host, nil, fmt.Errorf("this host's package sources name no archive of %s %s that guests reach",
			host.ID, host.Codename)
	}
	return host, own, nil
}

func (m Maker) packages(distribution string, recipe image.Recipe) ([]string, error) {
	if m.Container {
		return basePackages, nil
	}
	packages := slices.Concat(basePackages, bootPackages)
	if recipe.Kernel != "" {
		return append(packages, recipe.Kernel), nil
	}
	if slices.ContainsFunc(recipe.Packages, isKernel) {
		return packages, nil
	}
	kernel, err := kernelPackage(distribution, runtime.GOARCH)
	return append(packages, kernel), err
}

// isKernel says that a package is one of a kernel, as Debian and Ubuntu name them.
func isKernel(name string) bool { return strings.HasPrefix(name, "linux-image-") }

// runMmdebstrap runs mmdebstrap by runAlone: a run that is killed leaves
// nothing mounted below the root, where a later removal would find it, and
// nothing that goes on writing there. It may give way to what else the host does.
func runMmdebstrap(ctx context.Context, args []string, givesWay bool, output func(string)) error {
	mmdebstrap, err := programs.Find("mmdebstrap")
	if err != nil {
		return err
	}
	if nice, err := programs.Find("nice"); err == nil && givesWay {
		args, mmdebstrap = slices.Concat([]string{"-n", "19", mmdebstrap}, args), nice
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
		quote := said.Quote()
		if full := diskspace.Heard(quote); full != nil {
			err = fmt.Errorf("%w: %w", err, full)
		}
		return fmt.Errorf("mmdebstrap: %w%s", err, quote)
	}
	return nil
}

// runAlone runs a command in mount and pid namespaces of its own: nothing that
// it mounts or starts outlives it, and it does not outlive this process,
// however that ends. When the context of the command is done, the command and
// all that it started get SIGTERM, and SIGKILL after WaitDelay.
func runAlone(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID,
		Unshareflags: syscall.CLONE_NEWNS, // unlike Cloneflags, makes mounts private
		Setpgid:      true,
		Pdeathsig:    syscall.SIGKILL,
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	// For Pdeathsig the parent is the thread that started the child, so that
	// thread must not end before the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return cmd.Run()
}
