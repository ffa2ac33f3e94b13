package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// Kind is what an event tells.
type Kind string

// What is told of a worker. Entered, Ready, Ended and Failed end the phase that the
// worker was in, and begin the one that they name.
const (
	Promised Kind = "promised" // somebody has asked for it
	Stocked  Kind = "stocked"  // it is made ahead of time, for nobody yet
	Canary   Kind = "canary"   // it is made to try a renewed image
	Adopted  Kind = "adopted"  // it was suspended by an earlier process
	Orphan   Kind = "orphan"   // an earlier process has left it
	Entered  Kind = "entered"  // it begins a phase
	Passed   Kind = "passed"   // a part of the phase, "start.disk", has ended
	Waits    Kind = "waits"    // why the phase takes its time, in Reason
	Ready    Kind = "ready"    // jobs may come; How and Image say what it is
	Worked   Kind = "worked"   // a job was seen in it
	Ended    Kind = "ended"    // its end was asked for, for the Reason
	Failed   Kind = "failed"   // it ended unasked, for the Reason
	Used     Kind = "used"     // what it took, in Usage
	Gone     Kind = "gone"     // nothing of it is left
)

// What is told of the pool itself. Where a process opens the pool nothing is left of
// the workers of an earlier one, but for those that are suspended or told of again.
const (
	Opened Kind = "opened" // a process begins to serve it
	Closed Kind = "closed" // it ends in order
	Noted  Kind = "noted"  // something of it: Phase says of what, such as the image, Reason what
)

// Phases in which nobody waits for a worker. What others are called is for whoever writes.
const (
	Run       = "run"       // jobs may come
	Spare     = "spare"     // it was made ahead of time
	Suspended = "suspended" // it is put away
	Held      = "held"      // it is kept for a post-mortem
)

// Event is one thing that happened, and when. What came from a guest, or from an error's
// text, is fit to be printed.
type Event struct {
	At time.Time `json:"at"`
	// Worker is empty where the event is the pool's own.
	Worker string `json:"worker,omitempty"`
	Kind   Kind   `json:"kind"`
	Phase  string `json:"phase,omitempty"`
	// Reason is one line.
	Reason string `json:"reason,omitempty"`
	// How and Image are how the worker was made, and from which image, by its digest.
	How   string `json:"how,omitempty"`
	Image string `json:"image,omitempty"`
	Job   *Job   `json:"job,omitempty"`
	Usage *Usage `json:"usage,omitempty"`
	// Lost is how many events before this one could not be written.
	Lost int `json:"lost,omitempty"`
}

// Job is what a guest says of the job in it. Nothing of it may be relied on.
type Job struct {
	ID      int64  `json:"id"`
	Project string `json:"project,omitempty"`
	Name    string `json:"name,omitempty"`
}

// Usage is what a worker took in all its life. What is not known is 0.
type Usage struct {
	CPUSeconds float64 `json:"cpu_seconds,omitempty"`
	// PeakMemory is the most memory of the host that it had at once, in bytes.
	PeakMemory int64 `json:"peak_memory,omitempty"`
	// BytesIn and BytesOut went over its network, as the worker sees it.
	BytesIn  int64 `json:"bytes_in,omitempty"`
	BytesOut int64 `json:"bytes_out,omitempty"`
	// DiskWritten is in bytes.
	DiskWritten int64 `json:"disk_written,omitempty"`
	// Denied is how many packets its policy denied it, and DeniedTo the first
	// destinations of them, where they are logged.
	Denied   int64    `json:"denied,omitempty"`
	DeniedTo []Denied `json:"denied_to,omitempty"`
}

// Denied is how many packets to one destination were denied.
type Denied struct {
	Protocol string `json:"protocol"`
	To       string `json:"to"`
	Packets  int64  `json:"packets"`
}

// Bounds of an event. What is longer is cut when it is written, and refused when it is
// read.
const (
	maxLine     = 16 << 10 // bytes, the end of the line included
	maxDeniedTo = 20
)

// word is the form of a kind and of a phase, whose parts have a dot before them.
var word = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}(\.[a-z0-9_]{1,31})?$`)

// encode is the event as a line.
func encode(e Event) ([]byte, error) {
	e = e.cut()
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return nil, err
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	if line.Len() > maxLine {
		return nil, fmt.Errorf("it has %d bytes, more than %d", line.Len(), maxLine)
	}
	return line.Bytes(), nil
}

// decode is the event that a line holds. Whoever has written the line: what it returns
// is in the bounds, and fit to be printed.
func decode(line []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		return Event{}, err
	}
	e = e.cut()
	return e, e.check()
}

// cut has the event's texts fit to be printed, and within their bounds.
func (e Event) cut() Event {
	e.At = e.At.UTC().Truncate(time.Microsecond)
	e.Reason, e.How, e.Image = printable(e.Reason), printable(e.How), printable(e.Image)
	if e.Job != nil {
		e.Job = &Job{ID: e.Job.ID, Project: printable(e.Job.Project), Name: printable(e.Job.Name)}
	}
	if e.Usage != nil {
		e.Usage = e.Usage.cut()
	}
	return e
}

// printable is lines.Printable, which takes its time, where there is anything to do.
func printable(text string) string {
	if text == "" {
		return ""
	}
	return lines.Printable(text)
}

func (u Usage) cut() *Usage {
	var to []Denied
	for _, d := range u.DeniedTo[:min(len(u.DeniedTo), maxDeniedTo)] {
		to = append(to, Denied{printable(d.Protocol), printable(d.To), d.Packets})
	}
	u.DeniedTo = to
	return &u
}

// check refuses what no program of ours tells.
func (e Event) check() error {
	switch {
	case e.At.Year() < 2000 || e.At.Year() > 9999:
		return fmt.Errorf("it happened at %s", e.At)
	case e.Worker != "" && !workerid.Valid(e.Worker):
		return fmt.Errorf("%q is no worker", e.Worker)
	case !word.MatchString(string(e.Kind)):
		return fmt.Errorf("%q is no kind", e.Kind)
	case e.Phase != "" && !word.MatchString(e.Phase):
		return fmt.Errorf("%q is no phase", e.Phase)
	case e.Lost < 0:
		return fmt.Errorf("%d events are lost before it", e.Lost)
	case e.Job != nil && e.Job.ID <= 0:
		return fmt.Errorf("%d is no job", e.Job.ID)
	case e.Usage != nil:
		return e.Usage.check()
	}
	return nil
}

func (u Usage) check() error {
	if u.CPUSeconds < 0 || min(u.PeakMemory, u.BytesIn, u.BytesOut, u.DiskWritten, u.Denied) < 0 {
		return fmt.Errorf("it took less than nothing: %+v", u)
	}
	for _, d := range u.DeniedTo {
		if d.Packets < 0 {
			return fmt.Errorf("it took less than nothing: %+v", d)
		}
	}
	return nil
}
