package provider

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	fleetingprovider "gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
)

// Memory and descriptors of a plugin process are measured from outside, by `make
// soak`; goroutines only show from inside.
func TestGoroutinesOfWorkersEndWithThem(t *testing.T) {
	const most, generations = 5, 20
	w := newWorld(t, synthetic.Options{})
	w.start()
	turn := func() {
		ids := w.grow(most)
		_, err := w.Decrease(t.Context(), ids)
		require.NoError(t, err)
		w.await("the end of all workers", func(seen map[string]fleetingprovider.State) bool { return len(seen) == 0 })
	}
	turn() // what is made once is there now
	before := runtime.NumGoroutine()
	for range generations {
		turn()
	}
	var after int
	require.Eventually(t, func() bool {
		after = runtime.NumGoroutine()
		return after <= before+1 // that of Eventually itself
	}, soon, 5*time.Millisecond)
	t.Logf("goroutines after %d workers: %d, after %d: %d", most, before, most*(generations+1), after)
}
