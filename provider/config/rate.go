package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Multiples of a bit per second.
const (
	kbit int64 = 1e3
	mbit int64 = 1e6
	gbit int64 = 1e9
)

var (
	ratePattern = regexp.MustCompile(`^(-?[0-9]+) ?([A-Za-z/]*)$`)
	rateUnits   = map[string]int64{"kbit": kbit, "mbit": mbit, "gbit": gbit}
)

// The least that a job gets anything done with, and the most that a token bucket
// of the kernel, whose sizes have 32 bits, keeps to without losing count.
const (
	minRate = mbit
	maxRate = 100 * gbit
)

// parseRate gives bits per second. The units are tc's, of which those in bytes
// are left out: its "mbps" are not what most people take them for.
func parseRate(text string) (int64, error) {
	match := ratePattern.FindStringSubmatch(text)
	if match == nil {
		return 0, fmt.Errorf("%q is no bandwidth: write a whole number with a unit, for instance \"100mbit\"", text)
	}
	if match[2] == "" {
		return 0, fmt.Errorf("%q has no unit: write for instance \"100mbit\"", text)
	}
	unit, ok := rateUnits[strings.ToLower(match[2])]
	if _, isSize := units[match[2]]; isSize {
		return 0, fmt.Errorf("%q is a size: write bits per second, for instance \"100mbit\"", text)
	}
	if !ok {
		return 0, fmt.Errorf("%q has an unknown unit: use kbit, mbit or gbit, which are bits per second, for instance \"100mbit\"", text)
	}
	count, err := strconv.ParseInt(match[1], 10, 64)
	if count < 0 {
		return 0, fmt.Errorf("%q is negative: write for instance \"100mbit\"", text)
	}
	if err != nil || count > maxRate/unit {
		return 0, fmt.Errorf("%q is more than can be kept to: write at most \"%dgbit\", or remove it for no limit", text, maxRate/gbit)
	}
	if count*unit < minRate {
		return 0, fmt.Errorf("%q is too little: write at least \"%dmbit\", or remove it for no limit", text, minRate/mbit)
	}
	return count * unit, nil
}

func writeRate(bits int64) any { return fmt.Sprint(bits/kbit, "kbit") }
