//go:build linux

package vmm

import (
	"context"
	"time"
)

// lowShare is how much processor time a machine has that gives way, in percent of what
// it would have beside others. With less, one that is made beside busy workers would not
// be done within the time that a template may take.
const lowShare = 25

// giveWay has other machines go before this one until it is wanted. What is returned ends
// that. A machine of which the share cannot be set runs as any other; one that is to have
// its share back is not left with less.
func (b *Backend) giveWay(m *machine, wanted <-chan struct{}) (stop func()) {
	share := func(percent int) (set bool) {
		err := b.units.Weigh(m.id, m.spec.limits(), percent)
		if err != nil && m.process.Err() == nil {
			b.options.Log.Warn("share of the processors is not set", "machine", m.id, "percent", percent, "err", err)
			return false
		}
		return true
	}
	select {
	case <-wanted:
		return func() {}
	default:
	}
	share(lowShare)
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-wanted:
		case <-ctx.Done():
			return
		}
		for !share(100) {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-stopped }
}
