package prebuild

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Every wait for a guest has a limit; that of the user's steps is image.StepLimit.
const (
	// bootLimit bounds the first boot: until the agent answers, and until
	// cloud-init has ended, its packages included.
	bootLimit = 20 * time.Minute
	// choreLimit bounds each of our own requests.
	choreLimit = 10 * time.Minute

	// answerLimit and fileLimit bound in bytes what a guest sends: a broken
	// one must not fill the host's memory or disk.
	answerLimit = 64 << 10
	fileLimit   = 1 << 30
)

// within calls do with a limit, and says in its error what failed or took longer.
func within(ctx context.Context, limit time.Duration, what string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %s", limit))
	defer cancel()
	if err := do(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// bounded passes on what is written to it, up to a limit.
type bounded struct {
	to          io.Writer
	left, limit int64
}

func newBounded(to io.Writer, limit int64) *bounded { return &bounded{to, limit, limit} }

func (b *bounded) Write(p []byte) (int, error) {
	if int64(len(p)) > b.left {
		return 0, fmt.Errorf("the guest sends more than %d bytes", b.limit)
	}
	b.left -= int64(len(p))
	return b.to.Write(p)
}
