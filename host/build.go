package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

const (
	// buildWait is how long a build waits for another one from the command line.
	buildWait = time.Hour
	// quietWait is how long it waits before it says so.
	quietWait = time.Second
)

// Building is how an image is built; see image.Recipe. From scratch replaces the image, too.
type Building struct{ FromScratch, KeepFailed bool }

// BuildImage makes the golden image that a configuration asks for, for jobs
// that log in as user, or finds it in the cache. It returns the name of the
// backend too, which the configuration may have left open. Building from scratch
// replaces an image that is there, unless it is used.
func (h *Host) BuildImage(
	ctx context.Context, c config.Config, user string, how Building, progress image.Progress, log *slog.Logger,
) (golden image.Golden, name string, err error) {
	recipe, err := h.recipeHere(c, user)
	if err != nil {
		return image.Golden{}, "", err
	}
	recipe.FromScratch, recipe.Replace, recipe.KeepFailed = how.FromScratch, how.FromScratch, how.KeepFailed
	// A build has a machine and a lease like a worker. In the pool that it is
	// for, a plugin process would take them for orphans.
	c, err = c.With(func(c *config.Config) { c.Pool = config.PoolImages })
	if err != nil {
		return image.Golden{}, "", err
	}
	a, err := h.choose(ctx, c, log)
	if err != nil {
		return image.Golden{}, "", err
	}
	recipe.Form, recipe.Edition = a.Form, c.Image.Refresh.Edition(time.Now())
	disk := h.diskOf(c, log)
	build := func() error {
		if how.FromScratch {
			if err := h.checkReplaceable(c, recipe.Digest()); err != nil {
				return err
			}
		}
		if how.FromScratch || !disk.HasImage(recipe.Digest()) {
			if err := disk.Check(ctx); err != nil {
				return fmt.Errorf("not building image %s: %w", recipe.Digest(), err)
			}
		}
		golden, err = a.Backend.Build(ctx, recipe, progress)
		return err
	}
	err = h.withPool(ctx, c, a, quietWait, build)
	if !isTaken(ctx, err) {
		return golden, a.Name, err
	}
	// An image that is there need not wait until another one is built.
	if golden, found, err := h.Images(c.ImagesDir()).Get(recipe.Digest()); !how.FromScratch && (found || err != nil) {
		return golden, a.Name, err
	}
	progress(waiting())
	err = h.withPool(ctx, c, a, buildWait, build)
	return golden, a.Name, err
}

// checkReplaceable refuses to build an image again that would not take the place of the
// one that is there, before the build takes its time. Workers read through one that is used.
func (h *Host) checkReplaceable(c config.Config, digest string) error {
	used := func() (map[string]bool, error) { return h.UsedImages(c) }
	may, err := h.Images(c.ImagesDir()).Replaceable(digest, used)
	if err == nil && !may {
		err = errors.New("a pool, a worker or a template uses it, another tool keeps its machine, or a shell has " +
			"saved it: change the recipe, such as by a comment in image.run, which makes another image")
	}
	if err != nil {
		return fmt.Errorf("replacing image %s: %w", digest, err)
	}
	return nil
}

// PrepareTemplate makes the template that the workers of the pool are forked
// from, where the backend can do that. A pool that is served by a plugin
// process makes its own.
func (h *Host) PrepareTemplate(
	ctx context.Context, c config.Config, golden image.Golden, progress image.Progress, log *slog.Logger,
) error {
	a, err := h.choose(ctx, c, log)
	if err != nil {
		return err
	}
	forker, ok := a.Backend.(backend.Forker)
	if !ok {
		return nil
	}
	release, err := golden.Hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := h.diskOf(c, log).Check(ctx); err != nil {
		return fmt.Errorf("making no template: %w", err)
	}
	size := backend.Size{CPUs: c.Machine.CPUs, Memory: c.Machine.Memory}
	wanted := make(chan struct{}) // by the command that this is for
	close(wanted)
	prepare := func() error { return forker.Prepare(ctx, golden, size, nil, wanted, progress) }
	if err := h.withPool(ctx, c, a, quietWait, prepare); !isTaken(ctx, err) {
		return err
	}
	progress(waiting())
	return h.withPool(ctx, c, a, buildWait, prepare)
}

// isTaken tells that another process holds the pool, and that ctx lets this one
// wait for it.
func isTaken(ctx context.Context, err error) bool {
	return errors.Is(err, store.ErrHeld) && ctx.Err() == nil
}

func waiting() (stage, line string) {
	return "waiting", "for another process of this program, which has its turn"
}

// withPool does work with the pool's lock held, for which it waits so long, after
// it has removed orphans, and with the network open.
func (h *Host) withPool(
	ctx context.Context, c config.Config, a Assembly, wait time.Duration, work func() error,
) (err error) {
	records, unlock, err := take(ctx, c, store.Open, wait)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	all, err := h.everyone(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	found, err := findOrphans(ctx, c, all)
	if err != nil {
		return err
	}
	if err := found.remove(ctx, c, records, all); err != nil {
		return err
	}
	defer func() {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		err = errors.Join(err, a.Network.Close(undo))
	}()
	if err := a.Network.Open(ctx); err != nil {
		return err
	}
	return work()
}
