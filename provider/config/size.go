package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
)

// Multiples of a byte, the unit of every size in a Config.
const (
	mib int64 = 1 << 20
	gib int64 = 1 << 30
)

var (
	sizePattern = regexp.MustCompile(`^(-?[0-9]+) ?([A-Za-z]*)$`)
	units       = map[string]int64{
		"MiB": mib, "GiB": gib, "TiB": 1 << 40,
		"MB": 1e6, "GB": 1e9, "TB": 1e12,
	}
)

// size is a number of bytes that may not be less than least.
func size(to *int64, least int64) value {
	v := as(aString, to, func(text string) (int64, error) {
		bytes, err := parseSize(text)
		if err == nil && bytes < least {
			err = fmt.Errorf("%q is too small: write at least \"%dMiB\"", text, least/mib)
		}
		return bytes, err
	}, func(bytes int64) any { return fmt.Sprint(bytes/mib, "MiB") })
	v.kind = "size"
	return v
}

// parseSize gives bytes. It rounds up to a whole mebibyte: memory and disks
// come in pages and sectors, and a machine of "4GB" would not start otherwise.
func parseSize(text string) (int64, error) {
	match := sizePattern.FindStringSubmatch(text)
	if match == nil {
		return 0, fmt.Errorf("%q is no size: write a whole number with a unit, for instance \"8GiB\"", text)
	}
	if match[2] == "" {
		return 0, fmt.Errorf("%q has no unit: write for instance \"8GiB\"", text)
	}
	unit, ok := units[match[2]]
	if !ok {
		return 0, fmt.Errorf("%q has an unknown unit: use MiB, GiB, TiB, MB, GB or TB, for instance \"8GiB\"", text)
	}
	count, err := strconv.ParseInt(match[1], 10, 64)
	if count < 0 {
		return 0, fmt.Errorf("%q is negative: write for instance \"8GiB\"", text)
	}
	if err != nil || count > (math.MaxInt64-mib)/unit {
		return 0, fmt.Errorf("%q is more than any machine has: write for instance \"8GiB\"", text)
	}
	return (count*unit + mib - 1) / mib * mib, nil
}
