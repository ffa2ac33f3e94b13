package nameserver

import (
	"strconv"
	"sync"
	"time"
)

// What was logged is remembered for as long as memory, and at most so many texts
// are logged in that time: a guest decides how often it asks, and must not fill
// the host's log with it.
const (
	memory   = time.Minute
	capacity = 100
)

// once remembers what was logged.
type once struct {
	mutex sync.Mutex
	since time.Time
	said  map[string]bool
}

func newOnce() *once { return &once{said: map[string]bool{}} }

// first says whether the text is to be logged: it was not yet in this minute, and
// the capacity is not used up.
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
