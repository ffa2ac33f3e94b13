package nameserver

import (
	"strconv"
	"sync"
	"time"
)

// A guest decides how often it asks, and must not fill the host's log with it.
const (
	memory   = time.Minute
	capacity = 100
)

// once remembers for a minute what was said.
type once struct {
	mutex sync.Mutex
	since time.Time
	said  map[string]bool
}

func newOnce() *once { return &once{said: map[string]bool{}} }

// first tells whether the text should be said: it was not in the minute that
// runs, and not a hundred others were.
func (o *once) first(text string, now time.Time) bool {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if now.Sub(o.since) >= memory {
		o.since = now
		clear(o.said)
	}
	if len(o.said) == capacity || o.said[text] {
		return false
	}
	o.said[text] = true
	return true
}

// printable escapes what could upset a terminal or a log.
func printable(name string) string {
	quoted := strconv.QuoteToASCII(name)
	return quoted[1 : len(quoted)-1]
}
