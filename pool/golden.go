package pool

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// The pause after a failed build.
const (
	firstBuildPause = time.Second
	lastBuildPause  = 5 * time.Minute
)

// golden is the golden image that workers are made from. It is built once; as long as
// that fails it is tried again, and each worker gets the result of the attempt that it
// waited for. A renewed image takes its place at once (renew.go). Images are held, so
// that nobody removes them, as long as anything is made from them.
type golden struct {
	// build returns an image that is kept until done is called.
	build func(context.Context) (golden image.Golden, done func(), err error)
	// unused is told that an image is held no more.
	unused func()

	mu      sync.Mutex
	attempt *attempt
	// serving is the digest of the image that workers are made from.
	serving string
	held    map[string]*held // by digest
}

// held is an image that is kept from being removed.
type held struct {
	release func() error
	// users is how many workers, spares and renewals there are of it.
	users int
}

func newGolden(
	build func(context.Context) (image.Golden, func(), error), unused func(),
) *golden {
	return &golden{build: build, unused: unused, attempt: newAttempt(), held: make(map[string]*held)}
}

// attempt is one try at the build. Its result is there once done is closed; reason
// says what it waits for once waits is closed.
type attempt struct {
	done  chan struct{}
	image image.Golden
	err   error

	once   sync.Once
	waits  chan struct{}
	reason string
}

func newAttempt() *attempt { return &attempt{done: make(chan struct{}), waits: make(chan struct{})} }

// run builds until it succeeds or ctx ends. It tells failed about each attempt
// that failed, and how long the next one waits.
func (g *golden) run(ctx context.Context, failed func(err error, pause time.Duration)) {
	pause := backoff{first: firstBuildPause, limit: lastBuildPause}
	for {
		golden, done, err := g.build(ctx)
		if err == nil {
			if g.awaited() { // else a renewed image has taken its place meanwhile
				g.serve(golden)
			}
			done()
			return
		}
		if ctx.Err() != nil {
			return // whoever waits has a context that ended too
		}
		wait := pause.grow()
		failed(err, wait)
		g.fail(err)
		if sleep(ctx, wait) != nil {
			return
		}
	}
}

// take waits for the golden image, and keeps it until done is called. It tells waits
// when the attempt itself waits for something.
func (g *golden) take(
	ctx context.Context, waits func(reason string),
) (golden image.Golden, done func(), err error) {
	for {
		if golden, err = g.waitTelling(ctx, waits); err != nil {
			return image.Golden{}, nil, err
		}
		if done, ok := g.use(golden.Digest); ok {
			return golden, done, nil
		} // else another has taken its place meanwhile
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

// keep keeps an image from being removed until done is called, also where a directory
// of the same name was kept before, which is gone.
func (g *golden) keep(ctx context.Context, made image.Golden) (done func(), err error) {
	release, err := made.Hold(ctx)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	h := g.held[made.Digest]
	if h == nil {
		h = &held{}
		g.held[made.Digest] = h
	}
	former := h.release
	h.release = release
	done = g.add(h)
	g.mu.Unlock()
	if former != nil {
		_ = former() // closes a file that was only locked
	}
	return done, nil
}

// use keeps an image that is held already until done is called; false says that it is not.
func (g *golden) use(digest string) (done func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.held[digest]
	if h == nil {
		return nil, false
	}
	return g.add(h), true
}

// add counts one more user, until done is called. The caller holds the mutex.
func (g *golden) add(h *held) (done func()) {
	h.users++
	return sync.OnceFunc(func() { g.settle(func() { h.users-- }) })
}

// serve has workers be made from an image from now on. It is one that is kept.
func (g *golden) serve(made image.Golden) {
	g.settle(func() {
		select {
		case <-g.attempt.done:
			g.attempt = newAttempt()
		default:
		}
		g.attempt.finish(made, nil)
		g.serving = made.Digest
	})
}

// settle makes a change, and lets go of images that nothing is made from after it.
func (g *golden) settle(change func()) {
	g.mu.Lock()
	change()
	var gone []*held
	for digest, h := range g.held {
		if h.users == 0 && digest != g.serving {
			gone = append(gone, h)
			delete(g.held, digest)
		}
	}
	g.mu.Unlock()
	for _, h := range gone {
		_ = h.release() // closes a file that was only locked
		g.unused()
	}
}

// inUse lists the images that are held, by their digests.
func (g *golden) inUse() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Sorted(maps.Keys(g.held))
}

// serves says whether workers are made from the image now.
func (g *golden) serves(digest string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.serving == digest
}

// letGo has the images be removed by whoever wants their room.
func (g *golden) letGo() (err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, h := range g.held {
		err = errors.Join(err, h.release())
	}
	clear(g.held)
	return err
}

func (g *golden) current() *attempt {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.attempt
}

// awaited says whether workers wait for an image.
func (g *golden) awaited() bool {
	select {
	case <-g.current().done:
		return false
	default:
		return true
	}
}

// fail ends the attempt that workers wait for, and puts a new one in its place, for which
// workers wait that come from now on. It does nothing when a renewed image is there by now.
func (g *golden) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.attempt.done:
	default:
		g.attempt.finish(image.Golden{}, err)
		g.attempt = newAttempt()
	}
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

// wait says what the attempt waits for. Only the first call counts.
func (a *attempt) wait(reason string) {
	a.once.Do(func() {
		a.reason = reason
		close(a.waits)
	})
}

// build asks the backend for the image that the pool begins with, and puts its progress
// in the log.
func (p *Pool) build(ctx context.Context) (image.Golden, func(), error) {
	return p.make(ctx, p.firstRecipe(), aboutImage, func(log *slog.Logger, reason string) {
		log.Warn("golden image is not built yet", "reason", reason)
		p.golden.current().wait("the golden image is not built yet: " + reason)
	})
}

// make has an image be made, unless it is there, and keeps it until done is called.
// The ledger has it under what it is about. It tells waits when it waits for room on the
// disk.
func (p *Pool) make(
	ctx context.Context, recipe image.Recipe, about string, waits func(log *slog.Logger, reason string),
) (golden image.Golden, done func(), err error) {
	digest := recipe.Digest()
	log := p.log.With("image", digest)
	log.Info("golden image is wanted")
	if !p.disk.HasImage(digest) {
		if err := p.awaitDisk(ctx, func(reason string) {
			waits(log, reason)
			p.history.notes(about, "it is not built yet: "+reason)
		}); err != nil {
			return image.Golden{}, nil, err
		}
	}
	began := time.Now()
	golden, err = p.backend.Build(ctx, recipe, p.progress(log, "building the golden image", about))
	if err == nil {
		done, err = p.golden.keep(ctx, golden) // fails when it was removed to make room, an instant ago
	}
	if err != nil {
		return image.Golden{}, nil, err
	}
	p.history.notes(about, "image "+golden.Digest+" is there")
	// One that was pulled has the digest of the recipe that it was built by elsewhere.
	p.log.Info("golden image is there", "image", golden.Digest, "took", time.Since(began).Round(time.Millisecond))
	return golden, done, nil
}

// progress logs each stage of what is made when it begins, and the lines of its
// output for those who want to see everything. The ledger has the stages, under what they
// are about.
func (p *Pool) progress(log *slog.Logger, what, about string) image.Progress {
	var current string
	return func(stage, line string) {
		if stage != current {
			current = stage
			log.Info(what, "stage", stage)
			p.history.notes(about, what+": "+stage)
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
