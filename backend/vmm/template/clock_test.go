//go:build linux

package template

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// clock is a guest whose clock runs so much faster than the host's, and which
// takes its time to answer.
type clock struct {
	booted time.Time
	rate   float64
	delay  time.Duration
}

func (c clock) Run(_ context.Context, _ string, output io.Writer) error {
	time.Sleep(c.delay)
	fmt.Fprintf(output, "%.2f 0.00\n", time.Since(c.booted).Seconds()*c.rate)
	time.Sleep(c.delay)
	return nil
}

func TestClockThatRunsWrongIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, rate := range []float64{0.5, 0.8, 1.3, 6} {
			err := CheckClock(t.Context(), clock{time.Now().Add(-time.Minute), rate, 20 * time.Millisecond})
			require.ErrorIs(t, err, errClock, rate)
		}
		for _, delay := range []time.Duration{0, 20 * time.Millisecond, 10 * time.Second} {
			require.NoError(t, CheckClock(t.Context(), clock{time.Now().Add(-time.Minute), 1, delay}), delay)
		}
	})
}
