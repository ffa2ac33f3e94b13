//go:build linux

package vmm

import (
	"context"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/process"
)

// giveWay has other machines go before this one until it is wanted. What is returned ends
// that.
func (b *Backend) giveWay(m *machine, wanted <-chan struct{}) (stop func()) {
	select {
	case <-wanted:
		return func() {}
	default:
	}
	b.share(m, process.LowShare)
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-wanted:
		case <-ctx.Done():
			return
		}
		for !b.share(m, 100) {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-stopped }
}

// share gives a machine so many percent of the processor time that it would have beside
// others. A machine of which the share cannot be set runs as any other; one that is to
// have its share back is not left with less.
func (b *Backend) share(m *machine, percent int) (set bool) {
	err := b.units.Weigh(m.id, m.spec.limits(), percent)
	if err != nil && m.process.Err() == nil {
		b.options.Log.Warn("share of the processors is not set", "machine", m.id, "percent", percent, "err", err)
		return false
	}
	return true
}
