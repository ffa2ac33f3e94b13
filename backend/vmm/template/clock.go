//go:build linux

package template

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
)

// clockPause is how long a guest's clock is watched, and clockSlack how wrong
// it may be: /proc/uptime counts hundredths of seconds.
const (
	clockPause = time.Second
	clockSlack = 50 * time.Millisecond
)

// errClock is mended by another boot.
var errClock = errors.New("the guest's clock runs wrong")

// runner is a guest's agent.
type runner interface {
	Run(ctx context.Context, command string, output io.Writer) error
}

// CheckClock holds that a guest's clock runs as fast as the host's. On a host
// that was too busy while the guest booted it may not: the guest then took the
// wrong measure of its processor, and every fork would inherit that.
func CheckClock(ctx context.Context, agent runner) error {
	first, err := read(ctx, agent)
	if err != nil {
		return err
	}
	select {
	case <-time.After(clockPause):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	second, err := read(ctx, agent)
	if err != nil {
		return err
	}
	return compare(first, second)
}

// reading is a guest's uptime at some moment between two of the host's.
type reading struct {
	asked, answered time.Time
	uptime          time.Duration
}

func read(ctx context.Context, agent runner) (reading, error) {
	var said lines.Beginning
	r := reading{asked: time.Now()}
	if err := agent.Run(ctx, "cat /proc/uptime", &said); err != nil {
		return r, fmt.Errorf("asking for the guest's uptime: %w", err)
	}
	r.answered = time.Now()
	uptime, _, _ := strings.Cut(said.String(), " ")
	seconds, err := strconv.ParseFloat(uptime, 64)
	if err != nil {
		return r, fmt.Errorf("the guest's uptime is %q: %w", said.String(), err)
	}
	r.uptime = time.Duration(seconds * float64(time.Second))
	return r, nil
}

func compare(first, second reading) error {
	passed := second.uptime - first.uptime
	least, most := second.asked.Sub(first.answered), second.answered.Sub(first.asked)
	if slack := clockSlack + most/20; passed < least-slack || passed > most+slack {
		return fmt.Errorf("%w: it counted %s while between %s and %s passed; this host was too busy while it booted",
			errClock, passed, least.Round(time.Millisecond), most.Round(time.Millisecond))
	}
	return nil
}
