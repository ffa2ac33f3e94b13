package pool

import (
	"context"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// templateCheck is how often the template is looked after: one that failed, or
// was taken out of use, is made again.
const templateCheck = 5 * time.Minute

// keepTemplate keeps what workers are forked from, if the backend can do that.
// Without a template nothing stops: workers are clones then.
func (p *Pool) keepTemplate() {
	forker, ok := p.backend.(backend.Forker)
	if !ok {
		return
	}
	for {
		if golden, err := p.golden.wait(p.growing); err == nil {
			log := p.log.With("image", golden.Digest)
			waits := func(reason string) { log.Warn("no template is made yet", "reason", reason) }
			if !p.hasTemplate(p.growing, golden) && p.awaitDisk(p.growing, waits) != nil {
				return
			}
			err := forker.Prepare(p.growing, golden, p.size(), progress(log, "making the template"))
			if err != nil && p.growing.Err() == nil {
				log.Warn("no template: workers are clones, which take longer", "err", err, "again_in", templateCheck)
			}
			p.restock()
		}
		if sleep(p.growing, templateCheck) != nil {
			return
		}
	}
}

// hasTemplate says whether there is a template of the image that workers are forked
// from now.
func (p *Pool) hasTemplate(ctx context.Context, golden image.Golden) bool {
	stocker, ok := p.backend.(backend.Stocker)
	return ok && stocker.Stockable(ctx, golden, p.size())
}

func (p *Pool) size() backend.Size {
	return backend.Size{CPUs: p.config.CPUs, Memory: p.config.Memory}
}
