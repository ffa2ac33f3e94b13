package image

import (
	"fmt"
	"time"
)

// Refresh says when the image of a recipe is to be made anew: at the beginning of each
// period. The periods follow from the clock alone, so that all pools and hosts with one
// setting agree on them, and find each other's images. The zero value is never.
type Refresh struct {
	// Every is how long a period lasts. Periods are counted from the first of January
	// 1970, in UTC.
	Every time.Duration
	// At is how much later than midnight UTC they begin, where they are whole days.
	At time.Duration
}

// Edition names the period of a moment, by its beginning; see Recipe. It is empty where
// nothing is made anew.
func (r Refresh) Edition(now time.Time) string {
	if r.Every == 0 {
		return ""
	}
	return r.begin(now).Format("2006-01-02T15:04:05Z")
}

// Fresh says whether an edition need not be made anew yet. One that begins later than the
// next period is not: it was named by a clock that was wrong.
func (r Refresh) Fresh(edition string, now time.Time) bool {
	return edition >= r.Edition(now) && !r.Ahead(edition, now)
}

// Ahead says whether an edition begins later than the next period.
func (r Refresh) Ahead(edition string, now time.Time) bool {
	return edition > r.Edition(now.Add(r.Every))
}

// Next is when the period of a moment ends.
func (r Refresh) Next(now time.Time) time.Time { return r.begin(now).Add(r.Every) }

// begin rounds down. Time.Truncate would count from the year 1.
func (r Refresh) begin(now time.Time) time.Time {
	since := now.Sub(time.Unix(0, 0).Add(r.At))
	into := since % r.Every
	if into < 0 {
		into += r.Every
	}
	return now.Add(-into).UTC()
}

// String is the setting as it is written.
func (r Refresh) String() string {
	switch {
	case r.Every == 0:
		return ""
	case r.At == 0:
		return r.Every.String()
	}
	return fmt.Sprintf("%s at %02d:%02d", r.Every, int(r.At.Hours()), int(r.At.Minutes())%60)
}
