package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// slowest is how many tests are listed.
const slowest = 20

// event is a line of `go test -json`, as `go doc test2json` describes it.
type event struct {
	Action, Package, Test string
	Elapsed               float64 // seconds
}

// times are how long packages and tests took, the longest first.
type times struct{ packages, tests []event }

// read takes from the events those that end a package, or a test that is not
// divided into others.
func read(from io.Reader) (times, error) {
	var found times
	divided := make(map[string]bool)
	for decoder := json.NewDecoder(from); ; {
		var e event
		switch err := decoder.Decode(&e); {
		case errors.Is(err, io.EOF):
			found.tests = slices.DeleteFunc(found.tests, func(e event) bool { return divided[e.Package+e.Test] })
			longestFirst(found.packages)
			longestFirst(found.tests)
			return found, nil
		case err != nil:
			return times{}, err
		case e.Action != "pass" && e.Action != "fail":
		case e.Test == "":
			found.packages = append(found.packages, e)
		default:
			found.tests = append(found.tests, e)
			if i := strings.LastIndex(e.Test, "/"); i > 0 {
				divided[e.Package+e.Test[:i]] = true
			}
		}
	}
}

func longestFirst(events []event) {
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(b.Elapsed, a.Elapsed) })
}

func (t times) print(to io.Writer) {
	fmt.Fprintln(to, "\nTime of each package:")
	for _, e := range t.packages {
		fmt.Fprintf(to, "%8.1fs  %s\n", e.Elapsed, strings.TrimPrefix(e.Package, module))
	}
	fmt.Fprintf(to, "\nThe %d slowest tests:\n", slowest)
	for _, e := range t.tests[:min(slowest, len(t.tests))] {
		fmt.Fprintf(to, "%8.1fs  %s %s\n", e.Elapsed, strings.TrimPrefix(e.Package, module), e.Test)
	}
}
