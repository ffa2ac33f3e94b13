package config

import (
	"fmt"
	"time"
)

// Hold says which workers stay for a post-mortem when the runner gives them back.
type Hold struct {
	// On is HoldNever or HoldFailed.
	On string
	// For is how long one is held, and Max how many are at once.
	For time.Duration
	Max int
	// Save has them saved to disk, so that they take no memory.
	Save bool
}

// When workers are held that the operator has not asked for.
const (
	HoldNever  = "never"
	HoldFailed = "failed"
)

// The bounds of what is held: each machine takes disk, and most take memory.
const (
	minHold  = time.Minute
	maxHold  = 7 * aDay
	mostHeld = 100
)

func holdSection(c *Config) section {
	h := &c.Hold
	return section{name: "hold", keys: []key{
		{name: "on", value: text(&h.On, parseHoldOn), fallback: `"never"`, example: `"failed"`,
			about: "whose machines are kept for a post-mortem when the runner gives them back ([guide]" +
				"(../guides/post-mortem.md)). \"failed\": those of failed jobs, which ask for it in " +
				"`after_script`; each worker is asked before it is removed. \"never\": only those that " +
				"`hold ID` names",
			refused: "anything else"},
		{name: "for", value: text(&h.For, parseHoldFor), fallback: `"2h"`, kind: "duration",
			about:   "how long a machine is held, unless `hold --for` says otherwise",
			refused: "below 1m, above 7 days"},
		{name: "max", value: whole(&h.Max, between(0, mostHeld)), fallback: `2`,
			about: "the most machines that are held at once, beside the workers of the runner; 0 holds none. Each " +
				"has an address of `network.subnet`",
			refused: "negative; above 100"},
		{name: "save", value: boolean(&h.Save), fallback: `false`,
			about: "held machines are saved to disk at once, where the backend can do that, and take no memory; " +
				"`debug ID` opens shells in forks of them. `false`: they run on, `ssh ID` works, and they count " +
				"in the host's memory until the first `debug ID`"},
	}}
}

func parseHoldOn(text string) (string, error) {
	if text != HoldNever && text != HoldFailed {
		return "", fmt.Errorf("%q is unknown: write %q or %q", text, HoldNever, HoldFailed)
	}
	return text, nil
}

func parseHoldFor(text string) (time.Duration, error) {
	limit, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a valid duration: write a number with a unit, for instance \"2h\"", text)
	}
	if err := CheckHold(limit); err != nil {
		return 0, err
	}
	return limit, nil
}

// CheckHold refuses times for which nothing is held.
func CheckHold(limit time.Duration) error {
	if limit < minHold || limit > maxHold {
		return fmt.Errorf("%s is out of range: write at least %q and at most %q", limit, minHold, maxHold)
	}
	return nil
}
