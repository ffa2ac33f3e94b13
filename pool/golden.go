package pool

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// The pause after a failed build.
const (
	firstBuildPause = time.Second
	lastBuildPause  = 5 * time.Minute
)

// golden is the golden image that all workers of the pool wait for. It is
// built once; as long as that fails it is tried again, and each worker gets the
// result of the attempt that it waited for.
type golden struct {
	build func(context.Context) (image.Golden, error)

	mu      sync.Mutex
	attempt *attempt
	// release lets go of the image that was built last.
	release func() error
}

// attempt is one try at the build. Its result is there once done is closed; reason
// says what it waits for once waits is closed.
type attempt struct {
	done  chan struct{}
	image image.Golden
	err   error

	waits  chan struct{}
	reason string
}

func newAttempt() *attempt { return &attempt{done: make(chan struct{}), waits: make(chan struct{})} }

// run builds until it succeeds or ctx ends. It tells failed about each attempt
// that failed, and how long the next one waits.
func (g *golden) run(ctx context.Context, failed func(err error, pause time.Duration)) {
	pause := backoff{first: firstBuildPause, limit: lastBuildPause}
	for {
		golden, err := g.build(ctx)
		if err == nil {
			g.current().finish(golden, nil)
			return
		}
		if ctx.Err() != nil {
			return // whoever waits has a context that ended too
		}
		wait := pause.grow()
		failed(err, wait)
		g.renew().finish(image.Golden{}, err)
		if sleep(ctx, wait) != nil {
			return
		}
	}
}

// wait returns the golden image, or why the attempt that was due or under way
// when it was called has failed.
func (g *golden) wait(ctx context.Context) (image.Golden, error) {
	return g.waitTelling(ctx, func(string) {})
}

// waitTelling is wait that tells waits when the attempt itself waits for something.
func (g *golden) waitTelling(ctx context.Context, waits func(reason string)) (image.Golden, error) {
	a := g.current()
	for waiting := a.waits; ; {
		select {
		case <-a.done:
			return a.image, a.err
		case <-ctx.Done():
			return image.Golden{}, context.Cause(ctx)
		case <-waiting:
			waiting = nil
			waits(a.reason)
		}
	}
}

// hold keeps an image from being removed to make room, in place of the one that was
// held before.
func (g *golden) hold(ctx context.Context, made image.Golden) error {
	release, err := made.Hold(ctx)
	if err != nil {
		return err
	}
	return g.exchange(release)
}

// letGo has the image be removed by whoever wants its room.
func (g *golden) letGo() error { return g.exchange(nil) }

func (g *golden) exchange(release func() error) error {
	g.mu.Lock()
	former := g.release
	g.release = release
	g.mu.Unlock()
	if former == nil {
		return nil
	}
	return former()
}

func (g *golden) current() *attempt {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.attempt
}

// renew puts a new attempt in the place of the one that failed, so that
// workers that come from now on wait for the new one, and returns the old.
func (g *golden) renew() *attempt {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.attempt
	g.attempt = newAttempt()
	return old
}

// discardIfGone has workers wait for a new attempt in the place of the one that
// made an image whose files are gone; false says that they are not, or that
// somebody has seen to that.
func (g *golden) discardIfGone(made image.Golden) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.attempt.done:
	default:
		return false
	}
	if g.attempt.image.Dir != made.Dir {
		return false
	}
	// Asked before, a new attempt might have put them back by now.
	if _, err := os.Stat(made.Dir); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	g.attempt = newAttempt()
	return true
}

func (a *attempt) finish(golden image.Golden, err error) {
	a.image, a.err = golden, err
	close(a.done)
}

// wait says what the attempt waits for. It is called once.
func (a *attempt) wait(reason string) {
	a.reason = reason
	close(a.waits)
}

// build asks the backend for the golden image and puts its progress in the log.
func (p *Pool) build(ctx context.Context) (image.Golden, error) {
	digest := p.config.Recipe.Digest()
	log := p.log.With("image", digest)
	log.Info("golden image is wanted")
	if !p.disk.HasImage(digest) {
		err := p.awaitDisk(ctx, func(reason string) {
			log.Warn("golden image is not built yet", "reason", reason)
			p.golden.current().wait("the golden image is not built yet: " + reason)
		})
		if err != nil {
			return image.Golden{}, err
		}
	}
	began := time.Now()
	golden, err := p.backend.Build(ctx, p.config.Recipe, progress(log, "building the golden image"))
	if err == nil {
		err = p.golden.hold(ctx, golden) // fails when it was removed to make room, an instant ago
	}
	if err != nil {
		return image.Golden{}, err
	}
	// One that was pulled has the digest of the recipe that it was built by elsewhere.
	p.log.Info("golden image is there", "image", golden.Digest, "took", time.Since(began).Round(time.Millisecond))
	return golden, nil
}

// progress logs each stage of what is made when it begins, and the lines of its
// output for those who want to see everything.
func progress(log *slog.Logger, what string) image.Progress {
	var current string
	return func(stage, line string) {
		if stage != current {
			current = stage
			log.Info(what, "stage", stage)
		}
		if line != "" {
			log.Debug(what, "stage", stage, "line", line)
		}
	}
}

// rebuildIfGone has the golden image built again when its files were removed
// under the pool. A backend without files never misses them.
func (p *Pool) rebuildIfGone(made image.Golden) {
	if made.Dir == "" || !p.golden.discardIfGone(made) {
		return
	}
	p.log.Warn("golden image was removed, and is built again", "image", made.Digest)
	p.starts.renewed()
	p.spawn(p.buildGolden)
}
