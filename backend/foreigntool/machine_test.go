package foreigntool

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

func TestWatchedMachineEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(time.Hour)
		m := Watch("p-aaaaaaaa", func() error {
			if time.Now().Before(end) {
				return nil
			}
			return guest.ErrGone
		})
		require.NoError(t, m.Err())
		<-m.Done()
		<-m.Done()
		require.ErrorIs(t, m.Err(), guest.ErrGone)
		require.WithinRange(t, time.Now(), end, end.Add(look))
	})
}

func TestWaitForPowerOffEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := UntilOff(t.Context())
		defer cancel()
		<-ctx.Done()
		require.EqualError(t, context.Cause(ctx), "the guest did not power off within 3m0s")
	})
}

func TestOnlyOwnWorkersAreDestroyed(t *testing.T) {
	options := Options{Pool: "p"}
	for id, want := range map[string]bool{"p-aaaaaaaa": true, "q-aaaaaaaa": false, "p-q-aaaaaaaa": false} {
		ours, err := options.CheckDestroy(id)
		require.NoError(t, err)
		require.Equal(t, want, ours, id)
	}
	for _, id := range []string{"", "p", "p-a", "p-AAAAAAAA", "p-aaaaaaaa/..", GoldenName("0123456789abcdef")} {
		ours, err := options.CheckDestroy(id)
		require.ErrorContains(t, err, "is not a valid worker id", id)
		require.False(t, ours, id)
	}
}
