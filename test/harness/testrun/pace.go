package testrun

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Boot is how long the machine's first boot with cloud-init took, when the
// golden image was made: the longest that any machine of the tests does. What a
// worker does takes a fraction of it: a clone a quarter, a fork less than a
// tenth.
func Boot(t testing.TB) time.Duration {
	t.Helper()
	built(t)
	text, err := os.ReadFile(paceFile(dir(t)))
	require.NoError(t, err)
	boot, err := time.ParseDuration(string(text))
	require.NoError(t, err)
	return boot
}

// Patience bounds whatever is waited for that a machine does. It only ends a
// test that hangs, so it is generous: it follows from what this machine has
// shown it can do, and not from minutes that were right on another.
func Patience(t testing.TB) time.Duration {
	t.Helper()
	return max(2*time.Minute, 4*Boot(t))
}

func paceFile(dir string) string { return filepath.Join(dir, "boot") }

// stage is how the program shows that a stage of a build begins.
var stage = regexp.MustCompile(`(?m)^ *([0-9.]+)s  == (.*)$`)

// notePace reads in the progress of a build how long the boot took.
func notePace(dir, progress string) error {
	began := make(map[string]time.Duration)
	for _, found := range stage.FindAllStringSubmatch(progress, -1) {
		seconds, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			return fmt.Errorf("reading the progress of the build: %w", err)
		}
		began[found[2]] = time.Duration(seconds * float64(time.Second))
	}
	booted, ok := began[fmt.Sprintf("step 1 of %d", len(Steps))]
	if _, begun := began["boot"]; !begun || !ok {
		return errors.New("the progress of the build does not say how long the boot took")
	}
	return write(paceFile(dir), (booted - began["boot"]).String())
}
