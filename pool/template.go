package pool

import (
	"context"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// makeTemplate makes what workers are forked from, if the backend can do that.
// Without a template nothing stops: workers are clones then.
func (p *Pool) makeTemplate(ctx context.Context, golden image.Golden) {
	forker, ok := p.backend.(backend.Forker)
	if !ok || !p.config.Fork {
		return
	}
	log := p.log.With("image", golden.Digest)
	began := time.Now()
	err := forker.Prepare(ctx, golden, p.size(), func(stage, line string) {
		log.Debug("making the template", "stage", stage, "line", line)
	})
	switch {
	case err == nil:
		log.Info("template is there", "took", time.Since(began).Round(time.Millisecond))
	case ctx.Err() == nil:
		log.Warn("no template: workers are clones, which take longer", "err", err)
	}
}

func (p *Pool) size() backend.Size {
	return backend.Size{CPUs: p.config.CPUs, Memory: p.config.Memory}
}
