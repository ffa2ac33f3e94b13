package page

import (
	"fmt"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
)

// took is a duration with as many digits as a person reads.
func took(d time.Duration) string {
	switch {
	case d <= 0:
		return "0 s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// ago is how long before now something was, in one unit.
func ago(at, now time.Time) string {
	if at.IsZero() {
		return "-"
	}
	switch d := max(0, now.Sub(at)); {
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	default:
		return fmt.Sprintf("%d days ago", d/(24*time.Hour))
	}
}

func size(bytes int64) string { return diskspace.Size(bytes) }

// clock is a moment as all pages show it: in UTC, as ledgers have it.
func clock(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05.000 UTC") }

// shortDigest is how many digits of an image's digest tell it from others.
const shortDigest = 12

func short(digest string) string { return digest[:min(len(digest), shortDigest)] }
