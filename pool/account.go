package pool

import (
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// account tells the ledger what a worker has taken, as far as backend and network can
// tell: before its machine goes, or is put away.
func (p *Pool) account(w *worker) {
	if p.history.to == nil {
		return
	}
	usage := ledger.Usage{PeakMemory: p.peak(w)}
	if accountant, ok := p.backend.(backend.Accountant); ok {
		used, err := accountant.Usage(w.id)
		if err != nil {
			p.log.Debug("what a worker took of the host is not known", "worker", w.id, "err", err)
		}
		usage.CPUSeconds, usage.DiskWritten = used.CPU.Seconds(), used.DiskWritten
		usage.PeakMemory = max(usage.PeakMemory, used.PeakMemory)
	}
	if accountant, ok := p.network.(network.Accountant); ok {
		passed, err := accountant.Traffic(w.id)
		if err != nil {
			p.log.Debug("what went over a worker's link is not known", "worker", w.id, "err", err)
		}
		usage.BytesIn, usage.BytesOut, usage.Denied = passed.BytesIn, passed.BytesOut, passed.Denied
		for _, d := range passed.To {
			usage.DeniedTo = append(usage.DeniedTo, ledger.Denied{Protocol: d.Protocol, To: d.To, Packets: d.Packets})
		}
	}
	p.history.tell(ledger.Event{Worker: w.id, Kind: ledger.Used, Usage: &usage})
}
