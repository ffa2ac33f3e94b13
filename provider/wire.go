package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// checkLimit bounds the look at the host before a pool is opened, which shares
// its minute. The probe of how fast machines will be takes seconds, and its
// answer is remembered; all else shows in a moment, unless the host is busy.
const checkLimit = 20 * time.Second

// assembly is a backend with what it needs beside it.
type assembly struct {
	name    string
	backend backend.Backend
	network network.Network
	access  pool.Access
	// form is that of the golden images that the backend makes.
	form string
	// root says that nothing works without being root.
	root bool
}

// assembler puts together what a configuration asks for, or says what this
// host lacks for it.
type assembler func(context.Context, config.Config, *slog.Logger) (assembly, error)

// builder is one line of the table of backends.
type builder struct {
	name string
	// automatic says that the backend may be chosen for those who name none.
	automatic bool
	build     func(config.Config, *slog.Logger) (assembly, error)
}

// builders are the backends that this system has, the best first.
func builders() []builder {
	return slices.Concat(systemBuilders, remoteBuilders, []builder{{name: config.BackendSynthetic, build: buildSynthetic}})
}

func buildSynthetic(config.Config, *slog.Logger) (assembly, error) {
	return assembly{
		backend: synthetic.New(synthetic.Options{}),
		network: network.None{},
		access:  access.SSH{},
	}, nil
}

// candidates puts together every backend that the configuration leaves a
// choice of, the best first. It does not look at what the host lacks.
func candidates(c config.Config, log *slog.Logger) ([]assembly, error) {
	found, err := putTogether(c, log, func(b builder) bool {
		return c.Backend == b.name || c.Backend == config.BackendAuto && b.automatic
	})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("plugin_config.backend: %q finds no backend on %s yet; %q works everywhere, for tests and demos",
			c.Backend, runtime.GOOS, config.BackendSynthetic)
	}
	return found, err
}

// everyone puts together every backend of this system, whichever the
// configuration names: another one may have served the pool before. Where this
// process lacks root, a backend that needs it has served nothing in a directory
// of this user's, and could not even be asked.
func everyone(c config.Config, log *slog.Logger) ([]assembly, error) {
	all, err := putTogether(c, log, func(builder) bool { return true })
	return slices.DeleteFunc(all, assembly.lacksRoot), err
}

func putTogether(c config.Config, log *slog.Logger, wanted func(builder) bool) ([]assembly, error) {
	var made []assembly
	for _, b := range builders() {
		if !wanted(b) {
			continue
		}
		a, err := b.build(c, log)
		if err != nil {
			return nil, fmt.Errorf("backend %q: %w", b.name, err)
		}
		a.name = b.name
		made = append(made, a)
	}
	return made, nil
}

// assemble takes the first candidate for which the host lacks nothing. When
// there is none, it leaves no directories that it made.
func assemble(ctx context.Context, c config.Config, log *slog.Logger) (assembly, error) {
	candidates, err := candidates(c, log)
	if err != nil {
		return assembly{}, err
	}
	unmake, made := makeDirectories(c) // before the checks, which keep answers there
	a, err := choose(ctx, candidates, log)
	if err = cmp.Or(err, made); err != nil {
		unmake()
	}
	return a, err
}

// choose looks at one candidate after the other.
func choose(ctx context.Context, candidates []assembly, log *slog.Logger) (assembly, error) {
	var lacking []error
	for _, a := range candidates {
		err := a.works(ctx, log)
		if err == nil {
			if len(candidates) > 1 {
				log.Info("backend is chosen", "backend", a.name, "reason", whyChosen(candidates, a.name))
			}
			return a, nil
		}
		if ctx.Err() != nil {
			return assembly{}, fmt.Errorf("looking at what this host has: %w", context.Cause(ctx))
		}
		lacking = append(lacking, fmt.Errorf("backend %q does not work on this host:\n%w", a.name, err))
	}
	return assembly{}, errors.Join(lacking...)
}

// whyChosen says why a candidate was taken that is the first for which the host
// lacks nothing.
func whyChosen(candidates []assembly, name string) string {
	names := make([]string, len(candidates))
	for i, a := range candidates {
		names[i] = a.name
	}
	return fmt.Sprintf("%s is the first of %s for which this host lacks nothing", name, strings.Join(names, ", "))
}

// works says what the host lacks for the backend. A host too busy to answer in
// time lacks nothing that is known.
func (a assembly) works(ctx context.Context, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	err := Missing(a.check(ctx))
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		log.Warn("this host was not looked at to the end, and is taken as it is", "backend", a.name, "limit", checkLimit)
		return nil
	}
	return err
}

// check looks at what the backend needs of the host. The rest means nothing as
// long as root is missing.
func (a assembly) check(ctx context.Context) []doctor.Finding {
	if a.lacksRoot() {
		return []doctor.Finding{{
			Level: doctor.Missing, What: "root",
			Detail: fmt.Sprintf("this process runs as uid %d, and machines with networks of their own need root", os.Geteuid()),
			Mend:   "run the program, and GitLab Runner, as root",
		}}
	}
	return a.backend.Check(ctx)
}

func (a assembly) lacksRoot() bool { return a.root && os.Geteuid() != 0 }

// Images lists the golden images in a state directory. Those that cannot be
// read are in the error, beside the others.
func Images(c config.Config) ([]image.Golden, error) {
	return cache.New(c.ImagesDir()).List()
}

// checkImages tells of golden images that are damaged, whichever pool uses them.
func checkImages(c config.Config) (findings []doctor.Finding) {
	_, err := Images(c)
	var each interface{ Unwrap() []error }
	if !errors.As(err, &each) { // what nobody may read, the state directory's finding tells of
		return nil
	}
	for _, err := range each.Unwrap() {
		if damaged := (cache.Damaged{}); errors.As(err, &damaged) {
			findings = append(findings, doctor.Finding{
				Level: doctor.Warning, What: "golden image", Detail: fmt.Sprintf("%s: %v", damaged.Dir, damaged.Reason),
				Mend: fmt.Sprintf("rm -r %s, to have it built again", damaged.Dir),
			})
		}
	}
	return findings
}

// unfinishedBuilds lists what killed builds have left of images, and removes it
// if it is told to.
func unfinishedBuilds(c config.Config, remove bool) ([]string, error) {
	names, err := cache.New(c.ImagesDir()).Orphans(remove)
	for i, name := range names {
		names[i] = "unfinished image " + name
	}
	return names, err
}

// findImage finds the recipe's image, if it is one of those.
func findImage(c config.Config, recipe image.Recipe) (image.Golden, bool, error) {
	return cache.New(c.ImagesDir()).Get(recipe.Digest())
}
