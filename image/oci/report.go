//go:build linux

package oci

import (
	"fmt"
	"sync"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// report counts the bytes of a transfer and tells of them, at most once a second.
type report struct {
	progress image.Progress
	stage    string
	// moved is what is said of the bytes that went over the network.
	moved string

	mu    sync.Mutex
	total int64 // about; 0 is unknown
	done  int64
	net   int64
	said  time.Time
}

// begin tells of a stage that has so many bytes.
func (r *report) begin(stage string, total int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stage, r.total, r.done, r.said = stage, total, 0, time.Now()
	r.progress(stage, "")
}

// add counts bytes that are done, and those of them that went over the network.
func (r *report) add(done, net int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done, r.net = r.done+done, r.net+net
	if time.Since(r.said) >= time.Second {
		r.say()
	}
}

// end tells the sums.
func (r *report) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.say()
}

func (r *report) say() {
	r.said = time.Now()
	line := megabytes(r.done)
	if r.total > 0 {
		line = fmt.Sprintf("%d %% of %s", min(100, r.done*100/r.total), megabytes(r.total))
	}
	r.progress(r.stage, fmt.Sprintf("%s, %s %s", line, megabytes(r.net), r.moved))
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
