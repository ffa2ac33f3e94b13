package backend

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ending is a machine that ends when the test says so.
type ending struct {
	Machine
	done chan struct{}
}

var errPulled = errors.New("somebody pulled its plug")

func (m ending) Done() <-chan struct{} { return m.done }
func (m ending) Err() error            { return errPulled }

func TestWorkEndsWithItsMachine(t *testing.T) {
	m := ending{done: make(chan struct{})}
	ctx, cancel := WhileRunning(t.Context(), m)
	defer cancel()
	require.NoError(t, ctx.Err())
	close(m.done)
	select {
	case <-ctx.Done():
	case <-time.After(time.Minute):
		t.Fatal("the machine has ended, the work has not")
	}
	require.ErrorIs(t, context.Cause(ctx), errPulled)
}
