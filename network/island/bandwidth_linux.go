package island

import (
	"time"

	"github.com/vishvananda/netlink"
)

const (
	// burstTime is how long a link may send faster than its bandwidth after a
	// rest, and queueTime how long a packet waits at most before it is dropped.
	burstTime = 50 * time.Millisecond
	queueTime = 100 * time.Millisecond
	// minBurst holds the largest packet that the kernel hands over at once.
	minBurst = 64 << 10
)

// bucket is a token bucket, in bytes.
type bucket struct {
	rate         uint64
	burst, limit uint32
}

// newBucket is for a bandwidth in bits per second.
func newBucket(bandwidth int64) bucket {
	rate := uint64(bandwidth) / 8
	b := bucket{rate: rate, burst: uint32(max(minBurst, bytesIn(rate, burstTime)))}
	b.limit = b.burst + uint32(bytesIn(rate, queueTime))
	return b
}

func bytesIn(rate uint64, d time.Duration) uint64 {
	return rate * uint64(d.Milliseconds()) / 1000
}

// bandwidth bounds what leaves by the link, in bits per second.
func (c *configuration) bandwidth(bits int64) {
	c.try("limiting the bandwidth of", func(l netlink.Link) error {
		b := newBucket(bits)
		return netlink.QdiscReplace(&netlink.Tbf{
			QdiscAttrs: netlink.QdiscAttrs{
				LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT,
			},
			Rate: b.rate, Limit: b.limit,
			Buffer: netlink.Xmittime(b.rate, b.burst), // the kernel wants the time that it takes to fill
		})
	})
}
