package config

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Multiples of a byte, the unit of every size in a Config.
const (
	mib int64 = 1 << 20
	gib int64 = 1 << 30
)

// The least bandwidth that a job gets anything done with, in bits per second, and
// the most that a token bucket of the kernel, whose sizes have 32 bits, keeps to
// without losing count.
const (
	minRate int64 = 1e6
	maxRate int64 = 1e11
)

// quantity is what is written as a whole number with a unit.
type quantity struct {
	noun, instance string
	// units are looked up as they are written, and then in lower case.
	units map[string]int64
	// use lists the units, and excess says how to mend more than most.
	use    string
	most   int64
	excess string
}

var (
	aSize = quantity{noun: "size", instance: "8GiB",
		units: map[string]int64{"MiB": mib, "GiB": gib, "TiB": 1 << 40, "MB": 1e6, "GB": 1e9, "TB": 1e12},
		use:   "MiB, GiB, TiB, MB, GB or TB",
		most:  math.MaxInt64 - mib, excess: `is more than any machine has: write for instance "8GiB"`}
	// The units are tc's, of which those in bytes are left out: its "mbps" are not
	// what most people take them for.
	aRate = quantity{noun: "bandwidth", instance: "100mbit",
		units: map[string]int64{"kbit": 1e3, "mbit": 1e6, "gbit": 1e9},
		use:   "kbit, mbit or gbit, which are bits per second",
		most:  maxRate, excess: `is more than can be kept to: write at most "100gbit", or remove it for no limit`}
)

var quantityPattern = regexp.MustCompile(`^(-?[0-9]+) ?([A-Za-z/]*)$`)

func (q quantity) parse(text string) (int64, error) {
	match := quantityPattern.FindStringSubmatch(text)
	if match == nil {
		return 0, fmt.Errorf("%q is not a valid %s: write a whole number with a unit, for instance %q",
			text, q.noun, q.instance)
	}
	if match[2] == "" {
		return 0, fmt.Errorf("%q has no unit: write for instance %q", text, q.instance)
	}
	unit := cmp.Or(q.units[match[2]], q.units[strings.ToLower(match[2])])
	if unit == 0 {
		return 0, fmt.Errorf("%q has an unknown unit: use %s, for instance %q", text, q.use, q.instance)
	}
	count, err := strconv.ParseInt(match[1], 10, 64)
	if count < 0 {
		return 0, fmt.Errorf("%q is negative: write for instance %q", text, q.instance)
	}
	if err != nil || count > q.most/unit {
		return 0, fmt.Errorf("%q %s", text, q.excess)
	}
	return count * unit, nil
}

// size is a number of bytes that may not be less than least. It is rounded up to
// a whole mebibyte: memory and disks come in pages and sectors, and a machine of
// "4GB" would not start otherwise.
func size(to *int64, least int64) value {
	parse := func(text string) (int64, error) {
		bytes, err := aSize.parse(text)
		bytes = (bytes + mib - 1) / mib * mib
		if err == nil && bytes < least {
			err = fmt.Errorf("%q is too small: write at least \"%dMiB\"", text, least/mib)
		}
		return bytes, err
	}
	v := as(aString, to, parse, func(bytes int64) any { return fmt.Sprint(bytes/mib, "MiB") })
	v.kind = aSize.noun
	return v
}

// bandwidth is a number of bits per second, where 0 is no limit.
func bandwidth(to *int64) value {
	parse := func(text string) (int64, error) {
		if _, err := aSize.parse(text); err == nil {
			return 0, fmt.Errorf("%q is a size: write bits per second, for instance %q", text, aRate.instance)
		}
		bits, err := aRate.parse(text)
		if err == nil && bits < minRate {
			err = fmt.Errorf("%q is too little: write at least \"1mbit\", or remove it for no limit", text)
		}
		return bits, err
	}
	v := as(aString, to, parse, func(bits int64) any { return fmt.Sprint(bits/1000, "kbit") })
	v.kind = aRate.noun
	return v
}
