package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// templateCheck is how often the template is looked after: one that failed, or
// was taken out of use, is made again.
const templateCheck = 5 * time.Minute

// How long workers wait for the template, counted from when its making begins: twice as
// long as the last one took on this host, which may be busier now, within these limits;
// and for the most where nothing is known.
const (
	leastTemplateWait = time.Minute
	mostTemplateWait  = 5 * time.Minute
)

// quietWait is how long a worker waits for the template before it says so: making one
// where there are to be none ends at once.
const quietWait = time.Second

// making is one making of the template, as workers see it that may wait for it.
type making struct {
	// limit is how long they wait at most, from its beginning. Until early, the most of
	// it is yet to come.
	limit time.Duration
	early time.Time
	// over is done when nobody is to wait any more: the template is there, or has
	// failed, or is late. wanted is done when the first worker waits.
	over, wanted context.Context
	end, want    context.CancelFunc
}

// newMaking is that of a template where the last one took so long; 0 is not known.
func newMaking(lastTook time.Duration) *making {
	m := &making{limit: mostTemplateWait, early: time.Now().Add(leastTemplateWait / 2)}
	if lastTook > 0 {
		m.limit = min(max(2*lastTook, leastTemplateWait), mostTemplateWait)
		m.early = time.Now().Add(lastTook / 2)
	}
	m.over, m.end = context.WithCancel(context.Background())
	m.wanted, m.want = context.WithCancel(context.Background())
	return m
}

// expectTemplate has workers wait for the template from now on. It is called before the
// first of them can come.
func (p *Pool) expectTemplate() {
	if _, ok := p.backend.(backend.Forker); !ok {
		return
	}
	took, err := p.store.LoadTemplateTime()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.log.Warn("workers wait for the template as if none had been made before", "err", err)
	}
	p.templateTook = took
	p.making.Store(newMaking(took))
}

// tend looks after what workers are made from, until the pool closes: it keeps what they
// are forked from, if the backend can do that, and removes what nobody uses any more.
// Without a template nothing stops: workers are clones then.
func (p *Pool) tend() {
	forker, forks := p.backend.(backend.Forker)
	opened, graceIsOver := time.Now(), time.After(p.grace())
	for failed := false; ; {
		golden, err := p.golden.wait(p.growing)
		if p.growing.Err() != nil {
			return
		}
		if err != nil {
			continue // that is in the log already, and the next wait is for the next try
		}
		if forks {
			if p.awaitDiskForTemplate(golden) != nil {
				return
			}
			failed = !p.keepTemplate(forker, golden, failed)
		}
		p.removeUnused(golden, opened) // after the template that was made from it
		for next, looks := time.After(templateCheck), false; !looks; {
			select {
			case <-next:
				looks = true
			case <-p.unused:
				looks = true
			case <-graceIsOver:
				p.removeUnused(golden, opened)
			case <-p.growing.Done():
				return
			}
		}
	}
}

// keepTemplate makes the template, unless it is there; false says that it has failed.
func (p *Pool) keepTemplate(forker backend.Forker, golden image.Golden, failed bool) (ok bool) {
	err := p.makeTemplate(forker, golden, failed)
	if err != nil && p.growing.Err() == nil {
		p.history.notes(aboutTemplate, "making it failed: "+err.Error())
		p.log.Warn("no template: workers are clones, which take longer",
			"image", golden.Digest, "err", err, "again_in", templateCheck)
	}
	p.restock()
	return err == nil
}

// awaitDiskForTemplate waits until there is room on the disk for a template, if there is
// none yet. Workers that come meanwhile wait for the same room, and say so.
func (p *Pool) awaitDiskForTemplate(golden image.Golden) error {
	if p.hasTemplate(p.growing, golden) {
		return nil
	}
	return p.awaitDisk(p.growing, func(reason string) {
		p.making.Load().end()
		p.log.Warn("no template is made yet", "image", golden.Digest, "reason", reason)
	})
}

// makeTemplate makes the template, unless it is there. Workers wait for it, unless the
// last try has failed: as long as none succeeds they would only be later.
func (p *Pool) makeTemplate(forker backend.Forker, golden image.Golden, failed bool) error {
	log := p.log.With("image", golden.Digest)
	there := p.hasTemplate(p.growing, golden)
	m := newMaking(p.templateTook)
	defer m.end()
	if failed || there { // then it may only wait for another one's turn to be made
		m.end()
	} else {
		late := time.AfterFunc(m.limit, func() {
			log.Warn("template is late: workers are clones until it is there", "after", m.limit)
			m.end()
		})
		defer late.Stop()
	}
	p.making.Swap(m).end() // who waited before it began waits on
	began := time.Now()
	err := forker.Prepare(p.growing, golden, p.size(), p.golden.inUse(), m.wanted.Done(),
		p.progress(log, "making the template", aboutTemplate))
	if err == nil && !there && p.hasTemplate(p.growing, golden) { // else there are to be none
		p.rememberTemplate(time.Since(began))
	}
	return err
}

// rememberTemplate has the next making be waited for by how long this one took.
func (p *Pool) rememberTemplate(took time.Duration) {
	p.history.notes(aboutTemplate, "it is there")
	p.log.Info("template is there", "took", took.Round(time.Millisecond))
	p.templateTook = took
	if err := p.store.SaveTemplateTime(took); err != nil {
		p.log.Warn("how long the template took is forgotten with this process", "err", err)
	}
}

// awaitTemplate has a worker wait for the template while that is being made, and say so
// in its record, which says otherwise what record does. It holds nothing of the host. One
// worker that comes early does not wait.
func (p *Pool) awaitTemplate(ctx context.Context, w *worker, golden image.Golden, record store.Record) error {
	waits, over := p.telling("worker waits", record)
	defer over()
	quiet := time.NewTimer(quietWait)
	defer quiet.Stop()
	for p.expectsTemplate(ctx, golden) && !p.goesAhead(w) {
		m := p.making.Load()
		m.want()
		select {
		case <-m.over.Done():
		case <-quiet.C:
			waits(fmt.Sprintf("waiting for the template, to be forked from it: "+
				"a clone is booted if making it fails or takes longer than %s", m.limit.Round(time.Second)))
		case <-ctx.Done():
			return fmt.Errorf("waiting for the template: %w", context.Cause(ctx))
		}
	}
	return nil
}

// goesAhead says whether a worker is the one that boots beside the making of the template,
// which is sooner for it and takes a processor that nothing else of this pool needs.
func (p *Pool) goesAhead(w *worker) bool {
	if 2*p.config.CPUs <= p.config.Processors && time.Now().Before(p.making.Load().early) {
		w.ahead = w.ahead || p.ahead.CompareAndSwap(false, true)
	}
	return w.ahead
}

// expectsTemplate says whether the template is not there, and a worker is to wait for it.
func (p *Pool) expectsTemplate(ctx context.Context, golden image.Golden) bool {
	m := p.making.Load()
	return m != nil && m.over.Err() == nil && !p.hasTemplate(ctx, golden)
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
