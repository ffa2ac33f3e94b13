package provider

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gitlab.com/gitlab-org/fleeting/fleeting/plugin"
	fleetingprovider "gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// full is an instance group with so many running synthetic workers.
func full(b *testing.B, workers, max int) *InstanceGroup {
	return fullWith(b, workers, max, "", nil)
}

// fullWith is full with more keys, and with observers.
func fullWith(b *testing.B, workers, max int, keys string, observers []host.Observer) *InstanceGroup {
	assembly := host.Assembly{
		Backend: synthetic.New(synthetic.Options{}), Network: network.None{}, Access: access.SSH{},
	}
	on := hostWith(func() host.Assembly { return assembly })
	on.Observers = observers
	on.AddressOwners = func(config.Config) ([]string, error) { return nil, nil }
	g := New(plugin.VersionInfo{}, on)
	c, err := config.Parse(fmt.Appendf(nil, `{"backend": "synthetic", "state_dir": %q,
		"host": {"max_workers": %d, "concurrent_starts": 64}%s}`, shortDir(b), max, keys))
	require.NoError(b, err)
	g.config = c
	_, err = g.Init(b.Context(), nullLogger, fleetingprovider.Settings{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, g.Shutdown(context.Background())) })
	granted, err := g.Increase(b.Context(), workers)
	require.NoError(b, err)
	require.Equal(b, workers, granted)
	awaitRunning(b, g, workers)
	return g
}

// awaitRunning returns the ids once so many workers, and no others, are there
// and running.
func awaitRunning(b *testing.B, g *InstanceGroup, workers int) []string {
	for ; ; time.Sleep(10 * time.Millisecond) {
		var ids []string
		others := 0
		require.NoError(b, g.Update(b.Context(), func(id string, state fleetingprovider.State) {
			if state == fleetingprovider.StateRunning {
				ids = append(ids, id)
			} else {
				others++
			}
		}))
		if len(ids) == workers && others == 0 {
			return ids
		}
	}
}

func BenchmarkUpdateOf1000(b *testing.B) { update(b, full(b, 1000, 1000)) }

func update(b *testing.B, g *InstanceGroup) {
	for b.Loop() {
		if err := g.Update(b.Context(), func(string, fleetingprovider.State) {}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIncreaseBy100Beside1000(b *testing.B) { increase(b, full(b, 1000, 1100)) }

func increase(b *testing.B, g *InstanceGroup) {
	for b.Loop() {
		if _, err := g.Increase(b.Context(), 100); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		ids := awaitRunning(b, g, 1100)
		_, err := g.Decrease(b.Context(), ids[1000:])
		require.NoError(b, err)
		awaitRunning(b, g, 1000)
		b.StartTimer()
	}
}
