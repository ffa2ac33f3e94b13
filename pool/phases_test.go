package pool_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/phase"
)

func TestPartsOfPhasesAreRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.on("start", func(ctx context.Context, _ string) error {
			time.Sleep(time.Second)
			phase.Ended(ctx, phase.Disk)
			time.Sleep(2 * time.Second)
			phase.Ended(ctx, phase.Process)
			return nil
		})
		w.on("ready", func(ctx context.Context, _ string) error {
			for range 2 { // the second try is the one that works
				time.Sleep(4 * time.Second)
				phase.Ended(ctx, "connect")
			}
			return nil
		})
		p, s := openPool(t, w, config)
		grow(t, p, 1)
		time.Sleep(time.Minute)
		record, err := s.Load(only(t, p).ID)
		require.NoError(t, err)
		assert.Equal(t, map[string]float64{
			"wait_disk": 0, "wait_image": 0, "wait_template": 0, "wait_budget": 0, "wait_start": 0, "lease": 0,
			"start": 3, "start.disk": 1, "start.process": 2,
			"ready": 8, "ready.connect": 8,
		}, record.Phases)
	})
}
