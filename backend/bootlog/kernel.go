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

// Failure is how a guest's kernel has failed.
type Failure struct {
	// Words are the kernel's: "kernel panic: …" or "kernel oops: …". They are empty
	// when there was no failure.
	Words string
	// Panic says that it was the kernel's end.
	Panic bool
	// Quote is the console from just before the words on, as the end of an error's
	// text.
	Quote string
}

// How many lines of a console a Quote has, and how many of them come before the
// words. After them a kernel prints its stack, which may be longer.
const (
	quoted       = 20
	quotedBefore = 5
)

// KernelFailure reads on the console how the guest's kernel has failed. Whatever runs
// in the guest as root can write such words too. So they explain an end, and are no
// proof of it.
func KernelFailure(console string) Failure {
	said, err := lines.End(console, kernelBytes)
	if err != nil {
		return Failure{}
	}
	var oops Failure
	for i, line := range said {
		if found := panicWords.FindStringSubmatch(line); found != nil {
			words := "kernel panic: " + panicEnd.ReplaceAllString(found[1], "")
			return Failure{Words: words, Panic: true, Quote: quote(said, i)}
		}
		if found := oopsWords.FindString(line); found != "" && oops.Words == "" {
			oops = Failure{Words: "kernel oops: " + found, Quote: quote(said, i)}
		}
	}
	return oops
}

func quote(said []string, at int) string {
	said = said[max(0, at-quotedBefore):]
	return "\nthe console says:\n  " + strings.Join(said[:min(len(said), quoted)], "\n  ")
}
