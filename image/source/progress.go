package source

import (
	"fmt"
	"time"
)

// progress is a writer that counts, and says at most once a second how far it
// is, and once more at the end.
type progress struct {
	output func(string)
	done   int64
	total  int64 // below zero when the server does not say
	said   time.Time
	now    func() time.Time
}

func (p *progress) Write(b []byte) (int, error) {
	p.done += int64(len(b))
	if now := p.now(); p.done == p.total || now.Sub(p.said) >= time.Second {
		p.said = now
		p.output(p.String())
	}
	return len(b), nil
}

func (p *progress) String() string {
	if p.total <= 0 {
		return megabytes(p.done)
	}
	return fmt.Sprintf("%d %% of %s", p.done*100/p.total, megabytes(p.total))
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
