package source

import (
	"regexp"
	"strconv"
	"strings"
)

// Lines of lists of digests: those of sha256sum(1) and sha512sum(1), where a digest may
// stand alone, and those of their --tag.
var (
	plainLine  = regexp.MustCompile(`^(?P<sum>[0-9a-fA-F]{64}|[0-9a-fA-F]{128})(?: [ *](?:\./)?(?P<name>\S+))?$`)
	taggedLine = regexp.MustCompile(`^SHA(?:256|512) \((?P<name>\S+)\) = (?P<sum>[0-9a-fA-F]{64}|[0-9a-fA-F]{128})$`)
)

// parseDigests returns the digests of a list by the names of files, in lower-case
// hexadecimal: SHA-256 or SHA-512, the latter where there are both. One without a name
// has the empty one. Other lines mean nothing.
func parseDigests(text []byte) map[string]string {
	digests := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		expression := plainLine
		found := expression.FindStringSubmatch(line)
		if found == nil {
			expression = taggedLine
			if found = expression.FindStringSubmatch(line); found == nil {
				continue
			}
		}
		name, sum := found[expression.SubexpIndex("name")], found[expression.SubexpIndex("sum")]
		if len(sum) >= len(digests[name]) {
			digests[name] = strings.ToLower(sum)
		}
	}
	return digests
}

// link finds what the index of a directory links to.
var link = regexp.MustCompile(`(?i)href=["']?(?:\./)?([^"'/?#> ]+)["' >]`)

// parseIndex returns the names of files in the index that a server shows of a
// directory.
func parseIndex(text []byte) (names []string) {
	for _, m := range link.FindAllSubmatch(text, -1) {
		names = append(names, string(m[1]))
	}
	return names
}

// version is what * stands for in a name.
const version = `[0-9][0-9A-Za-z._-]*`

// newest is the name that fits the pattern and has the highest version; false when
// none does.
func newest(pattern string, names []string) (name string, found bool) {
	expression := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, version) + "$")
	for _, candidate := range names {
		if expression.MatchString(candidate) && (!found || older(name, candidate)) {
			name, found = candidate, true
		}
	}
	return name, found
}

// parts are the numbers in a name, and what stands between them.
var parts = regexp.MustCompile(`[0-9]+|[^0-9]+`)

// older compares names part by part, numbers as numbers.
func older(a, b string) bool {
	as, bs := parts.FindAllString(a, -1), parts.FindAllString(b, -1)
	for i := range min(len(as), len(bs)) {
		x, errX := strconv.ParseUint(as[i], 10, 64)
		y, errY := strconv.ParseUint(bs[i], 10, 64)
		switch {
		case errX == nil && errY == nil && x != y:
			return x < y
		case as[i] != bs[i]:
			return as[i] < bs[i]
		}
	}
	return len(as) < len(bs)
}
