package pool

import (
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Images are the golden images of a host, which all its pools share.
type Images interface {
	// Editions finds those of the recipe that there are, of whatever edition, the
	// newest first.
	Editions(recipe image.Recipe) ([]image.Golden, error)
	// Remove removes the images that are chosen, by when each was used last, of those
	// that no pool, no worker and no template uses. It returns what was removed, in
	// words.
	Remove(which func(golden image.Golden, lastUse time.Time) bool) (removed []string, err error)
}

// noImages are those of a pool that was given none.
type noImages struct{}

func (noImages) Editions(image.Recipe) ([]image.Golden, error) { return nil, nil }

func (noImages) Remove(func(image.Golden, time.Time) bool) ([]string, error) { return nil, nil }

// A pool removes no image for so long after its start: pools that start with it may have
// been away for longer than images are kept, and are about to hold theirs. The least is
// what GitLab Runner gives each of them to open.
const (
	leastGrace = time.Minute
	mostGrace  = 15 * time.Minute
)

// grace is how long after its start the pool removes none.
func (p *Pool) grace() time.Duration { return min(max(p.config.Keep, leastGrace), mostGrace) }

// lookForUnused has the pool look for images that nobody uses any more.
func (p *Pool) lookForUnused() {
	select {
	case p.unused <- struct{}{}:
	default: // it will look anyway
	}
}

// removeUnused removes the images that nobody has used for as long as they are kept. The
// one that the pool serves is used now, which is noted for the case that this process
// is killed. The present edition of its recipe stays: whoever made it, the pool is about to
// use it.
func (p *Pool) removeUnused(serving image.Golden, opened time.Time) {
	serving.NoteUse()
	if time.Since(opened) < p.grace() {
		return
	}
	now, refresh, series := time.Now(), p.config.Refresh, p.config.Recipe.Series()
	before := now.Add(-p.config.Keep)
	p.remove("nobody has used it for "+p.config.Keep.String(), func(g image.Golden, lastUse time.Time) bool {
		due := refresh.Every > 0 && g.Recipe.Series() == series && refresh.Fresh(g.Recipe.Edition, now)
		return !due && !lastUse.After(before)
	})
}

func (p *Pool) remove(reason string, which func(image.Golden, time.Time) bool) {
	removed, err := p.images.Remove(which)
	for _, what := range removed {
		p.log.Info("removed "+what, "reason", reason)
	}
	if err != nil {
		p.log.Warn("images that nobody uses may be left", "err", err)
	}
}
