package host

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

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// checkLimit bounds the look at the host before a pool is opened, which shares
// its minute. The probe of how fast machines will be takes seconds, and its
// answer is remembered; all else shows in a moment, unless the host is busy.
const checkLimit = 20 * time.Second

// candidates are the backends that the configuration leaves a choice of, the
// best first, whatever the host lacks for them.
func (h *Host) candidates(c config.Config, log *slog.Logger) ([]Assembly, error) {
	found, err := h.assemble(c, log, func(b Builder) bool {
		return c.Backend == b.Name || c.Backend == config.BackendAuto && b.Automatic
	})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("plugin_config.backend: %q finds no backend on %s yet; "+
			"%q works everywhere, for tests and demos", c.Backend, runtime.GOOS, config.BackendSynthetic)
	}
	return found, err
}

// everyone is every backend of this system, whichever the configuration names:
// another one may have served the pool before. Where this process lacks root, the
// backends that need it are left out: they cannot have served a pool in a
// directory of this user's.
func (h *Host) everyone(c config.Config, log *slog.Logger) ([]Assembly, error) {
	all, err := h.assemble(c, log, func(Builder) bool { return true })
	return slices.DeleteFunc(all, Assembly.lacksRoot), err
}

func (h *Host) assemble(c config.Config, log *slog.Logger, wanted func(Builder) bool) ([]Assembly, error) {
	var built []Assembly
	for _, b := range h.Backends {
		if !wanted(b) {
			continue
		}
		a, err := b.Build(c, log)
		if err != nil {
			return nil, fmt.Errorf("backend %q: %w", b.Name, err)
		}
		a.Name = b.Name
		built = append(built, a)
	}
	return built, nil
}

// choose takes the first candidate for which the host lacks nothing. When there
// is none, it leaves no directories that it made.
func (h *Host) choose(ctx context.Context, c config.Config, log *slog.Logger) (Assembly, error) {
	candidates, err := h.candidates(c, log)
	if err != nil {
		return Assembly{}, err
	}
	unmake, made := makeDirectories(c, log) // before the checks, which keep answers there
	a, err := firstThatWorks(ctx, candidates, log)
	if err = cmp.Or(err, made); err != nil {
		unmake()
	}
	return a, err
}

// firstThatWorks looks at one candidate after the other.
func firstThatWorks(ctx context.Context, candidates []Assembly, log *slog.Logger) (Assembly, error) {
	var lacking []error
	for _, a := range candidates {
		err := a.works(ctx, log)
		if err == nil {
			if len(candidates) > 1 {
				log.Info("backend is chosen", "backend", a.Name, "reason", whyChosen(candidates, a.Name))
			}
			return a, nil
		}
		if ctx.Err() != nil {
			return Assembly{}, fmt.Errorf("looking at what this host has: %w", context.Cause(ctx))
		}
		lacking = append(lacking, fmt.Errorf("backend %q does not work on this host:\n%w", a.Name, err))
	}
	return Assembly{}, errors.Join(lacking...)
}

// works says what the host lacks for the backend. A host that is too busy to
// answer in time is taken as it is.
func (a Assembly) works(ctx context.Context, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	err := Missing(a.check(ctx))
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		log.Warn("this host was not looked at to the end, and is taken as it is",
			"backend", a.Name, "limit", checkLimit)
		return nil
	}
	return err
}

// whyChosen says why a candidate was taken that is the first for which the host
// lacks nothing.
func whyChosen(candidates []Assembly, name string) string {
	names := make([]string, len(candidates))
	for i, a := range candidates {
		names[i] = a.Name
	}
	return fmt.Sprintf("%s is the first of %s for which this host lacks nothing", name, strings.Join(names, ", "))
}

// check looks at what the backend needs of the host; only at the user where root is
// missing, since the rest of the answers would be wrong.
func (a Assembly) check(ctx context.Context) []doctor.Finding {
	if a.lacksRoot() {
		return []doctor.Finding{{
			Level: doctor.Missing, What: "root",
			Detail: fmt.Sprintf("this process runs as uid %d, and machines with networks of their own need root",
				os.Geteuid()),
			Mend: "run the program, and GitLab Runner, as root",
		}}
	}
	return a.Backend.Check(ctx)
}
