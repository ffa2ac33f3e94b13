package bootlog

import (
	"regexp"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
)

// kernelBytes is how much of the end of a console is searched for the words of a
// kernel that has failed. What a kernel prints after its panic, such as its stack
// and its modules, is some KiB long.
const kernelBytes = 64 << 10

// Words of a Linux kernel. A panic is its end; after an oops it may go on.
var (
	panicWords = regexp.MustCompile(`Kernel panic - not syncing: (.*)`)
	oopsWords  = regexp.MustCompile(`BUG: .*|kernel BUG at .*|Oops: .*|Unable to handle kernel .*|Internal error: Oops.*`)
	// panicEnd is what the kernel puts around the words when it repeats them.
	panicEnd = regexp.MustCompile(` ?\]-+$`)
)

// panicked begins what KernelFailure says of a panic.
const panicked = "kernel panic: "

// IsPanic tells a panic from an oops, in the words of KernelFailure.
func IsPanic(failure string) bool { return strings.HasPrefix(failure, panicked) }

// KernelFailure says how the guest's kernel has failed, by its own words on the
// console: "kernel panic: …" or "kernel oops: …"; nothing when they are not there.
// Whatever runs in the guest as root can write such words too. So they explain an
// end, and are no proof of it.
func KernelFailure(console string) string {
	said, err := lines.End(console, kernelBytes)
	if err != nil {
		return ""
	}
	oops := ""
	for _, line := range said {
		if found := panicWords.FindStringSubmatch(line); found != nil {
			return panicked + panicEnd.ReplaceAllString(found[1], "")
		}
		if found := oopsWords.FindString(line); found != "" && oops == "" {
			oops = "kernel oops: " + found
		}
	}
	return oops
}
