package main

import (
	"slices"
	"strings"
)

const module = "gitlab.com/mayfly-ci/fleeting-plugin-mayfly/"

// first makes what others wait for, while cheap packages run beside it.
const first = "test/harness/testrun"

// long are the packages that take most of the time, the longest first: two of
// them run side by side until the end.
var long = []string{
	"backend/qemu", "test/e2e/machines", "backend/cloudhypervisor", "backend/nspawn", "image/initrd", "network/island",
	"test/e2e/plugin",
}

// order has cheap packages run before long ones, so that most mistakes show
// within minutes.
func order(packages []string) []string {
	place := func(name string) int {
		name = strings.TrimPrefix(name, module)
		if name == first {
			return -1
		}
		return 1 + slices.Index(long, name)
	}
	ordered := slices.Clone(packages)
	slices.SortStableFunc(ordered, func(a, b string) int { return place(a) - place(b) })
	return ordered
}
