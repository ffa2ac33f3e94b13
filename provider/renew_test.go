package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"gitlab.com/gitlab-org/fleeting/fleeting/plugin"
	fleetingprovider "gitlab.com/gitlab-org/fleeting/fleeting/provider"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
)

// renewed is an instance group whose pool has a period that no configuration may have.
type renewed struct {
	*InstanceGroup
	pool *pool.Pool
}

func (r renewed) Init(
	ctx context.Context, _ hclog.Logger, settings fleetingprovider.Settings,
) (fleetingprovider.ProviderInfo, error) {
	r.opened = &opened{&host.Pool{Pool: r.pool}, settings}
	return fleetingprovider.ProviderInfo{MaxSize: 20}, r.pool.Open(ctx)
}

func (r renewed) Shutdown(ctx context.Context) error { return r.pool.Close(ctx) }

// TestRenewalsUnderLoad has the runner's own scaling loop in front of a pool whose image
// is renewed every other second, and jobs with real SSH.
func TestRenewalsUnderLoad(t *testing.T) {
	for name, test := range map[string]struct {
		check    string
		renewals bool
	}{
		"one after the other": {"test -d .", true},
		"all of which fail":   {"exit 3", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			records, err := store.Open(t.TempDir())
			require.NoError(t, err)
			log := new(bytes.Buffer)
			p := pool.New(pool.Config{
				Name: "test", Recipe: image.Recipe{User: "runner"}, CPUs: 1, Memory: 1 << 30, Max: 20,
				ConcurrentStarts: 4,
				StartTimeout:     time.Minute, WatchInterval: time.Minute,
				Refresh: image.Refresh{Every: 2 * time.Second}, Check: []string{"true", test.check},
			}, pool.Parts{
				Backend: synthetic.New(synthetic.Options{StartDelay: 100 * time.Millisecond}),
				Network: network.None{}, Access: access.SSH{}, Store: records,
				Log: slog.New(slog.NewJSONHandler(log, nil)),
			})
			digests, after := make(map[string]bool), 0
			load := runner.Load{Idle: 3, Busy: 3, Script: "echo done", Done: func(task runner.Task) bool {
				record, err := records.Load(task.Worker)
				require.NoError(t, err)
				digests[record.ImageDigest] = true
				served, known, err := records.Served()
				require.NoError(t, err)
				if known && served.Failed != nil {
					after++
				}
				return test.renewals && len(digests) == 4 || after == 10
			}}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			carried, err := load.Run(ctx, renewed{New(plugin.VersionInfo{}, nil), p})
			require.NoError(t, err)
			require.GreaterOrEqual(t, carried.Least, load.Idle)
			require.Empty(t, carried.Unasked)
			require.Positive(t, carried.Jobs)
			renewals := 0
			for line := range strings.Lines(log.String()) {
				var said struct{ Msg, Image string }
				require.NoError(t, json.Unmarshal([]byte(line), &said))
				if strings.HasPrefix(said.Msg, "golden image is renewed") {
					renewals++
				}
			}
			require.Equal(t, test.renewals, renewals >= 3, log.String())
			if !test.renewals {
				require.Len(t, digests, 1)
				require.Contains(t, log.String(), "image.check[1]: exit code 3")
			}
			ids, err := records.List()
			require.NoError(t, err)
			require.Empty(t, ids)
		})
	}
}
