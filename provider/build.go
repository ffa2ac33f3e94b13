package provider

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

const (
	// buildWait is how long a build waits for another one that was asked for
	// from the command line.
	buildWait = time.Hour
	// patience is how long it does so without a word.
	patience = time.Second
)

// BuildImage makes the golden image that a configuration asks for, for jobs
// that log in as user, or finds it in the cache. It returns the name of the
// backend too, which the configuration may have left open.
func BuildImage(ctx context.Context, c config.Config, user string, progress image.Progress, log *slog.Logger) (golden image.Golden, name string, err error) {
	recipe, err := Recipe(c, user)
	if err != nil {
		return image.Golden{}, "", err
	}
	// A build has a machine and a lease like a worker. In the pool that it is
	// for, a plugin process would take them for orphans.
	c, err = c.With(func(c *config.Config) { c.Pool = config.PoolImages })
	if err != nil {
		return image.Golden{}, "", err
	}
	a, err := assemble(ctx, c, log)
	if err != nil {
		return image.Golden{}, "", err
	}
	recipe.Form = a.form
	build := func() error {
		golden, err = a.backend.Build(ctx, recipe, progress)
		return err
	}
	err = alone(ctx, c, a, patience, build)
	if !isTaken(ctx, err) {
		return golden, a.name, err
	}
	// Who has the image need not wait until another one is built.
	if golden, found, err := findImage(c, recipe); found || err != nil {
		return golden, a.name, err
	}
	progress(waiting())
	err = alone(ctx, c, a, buildWait, build)
	return golden, a.name, err
}

// PrepareTemplate makes the template that the workers of the pool are forked
// from, where the backend can do that. A pool that is served by a plugin
// process makes its own.
func PrepareTemplate(ctx context.Context, c config.Config, golden image.Golden, progress image.Progress, log *slog.Logger) error {
	a, err := assemble(ctx, c, log)
	if err != nil {
		return err
	}
	forker, ok := a.backend.(backend.Forker)
	if !ok {
		return nil
	}
	size := backend.Size{CPUs: c.Machine.CPUs, Memory: c.Machine.Memory}
	prepare := func() error { return forker.Prepare(ctx, golden, size, progress) }
	if err := alone(ctx, c, a, patience, prepare); !isTaken(ctx, err) {
		return err
	}
	progress(waiting())
	return alone(ctx, c, a, buildWait, prepare)
}

// isTaken tells that another process has its turn, and this one still wants it.
func isTaken(ctx context.Context, err error) bool {
	return errors.Is(err, store.ErrHeld) && ctx.Err() == nil
}

func waiting() (stage, line string) {
	return "waiting", "for another process of this program, which has its turn"
}

// alone works with the pool's lock held, for which it waits, and its network
// open, after it has removed what was left there by one that was killed.
func alone(ctx context.Context, c config.Config, a assembly, wait time.Duration, work func() error) (err error) {
	records, unlock, err := take(ctx, c, wait)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	all, err := everyone(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	found, err := findRemains(ctx, c, all)
	if err != nil {
		return err
	}
	if err := found.remove(ctx, records, all); err != nil {
		return err
	}
	defer func() {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		err = errors.Join(err, a.network.Close(undo))
	}()
	if err := a.network.Open(ctx); err != nil {
		return err
	}
	return work()
}

// Acceleration says how fast the machines of a backend run on this host, and
// why, as far as that is known without a probe.
func Acceleration(c config.Config, log *slog.Logger) (name, reason string) {
	candidates, err := candidates(c, log)
	if err != nil {
		return "", ""
	}
	if accelerated, ok := candidates[0].backend.(backend.Accelerated); ok {
		return accelerated.Acceleration()
	}
	return "", ""
}
