package pool_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// syntheticPool is a pool with real keys, real SSH and no machines.
func syntheticPool(t testing.TB, config pool.Config) (*pool.Pool, *synthetic.Backend, *store.Store) {
	t.Helper()
	return syntheticPoolTelling(t, config, nil)
}

// syntheticPoolTelling is a syntheticPool that tells a ledger.
func syntheticPoolTelling(
	t testing.TB, config pool.Config, to pool.Ledger,
) (*pool.Pool, *synthetic.Backend, *store.Store) {
	t.Helper()
	s, err := store.Open(t.TempDir())
	require.NoError(t, err)
	b := synthetic.New(synthetic.Options{})
	p := pool.New(config, pool.Parts{
		Backend: b, Network: network.None{}, Access: access.SSH{},
		Store: s, Log: slog.New(slog.DiscardHandler), Ledger: to,
	})
	require.NoError(t, p.Open(context.Background()))
	t.Cleanup(func() { require.NoError(t, p.Close(context.Background())) })
	return p, b, s
}

// waitFor waits until n workers run, and returns their ids.
func waitFor(t testing.TB, p *pool.Pool, n int) []string {
	t.Helper()
	for began := time.Now(); time.Since(began) < 5*time.Minute; time.Sleep(5 * time.Millisecond) {
		var ids []string
		for _, w := range p.Workers() {
			require.NotEqual(t, pool.Deleted, w.State, w.Reason)
			if w.State == pool.Running {
				ids = append(ids, w.ID)
			}
		}
		if len(ids) == n {
			return ids
		}
	}
	require.Fail(t, fmt.Sprintf("no %d workers in time", n))
	return nil
}

func TestAJobOverRealSSH(t *testing.T) {
	p, b, _ := syntheticPool(t, config)
	_, err := p.Grow(2)
	require.NoError(t, err)
	ids := waitFor(t, p, 2)

	connection, err := p.Connection(ids[0])
	require.NoError(t, err)
	signer, err := ssh.ParsePrivateKey([]byte(connection.PrivateKey))
	require.NoError(t, err)
	client, err := ssh.Dial("tcp", connection.Address.String(), &ssh.ClientConfig{
		User:            connection.User,
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	require.NoError(t, err)
	defer client.Close()
	session, err := client.NewSession()
	require.NoError(t, err)
	output, err := session.Output("echo 'hello world'")
	require.NoError(t, err)
	assert.Equal(t, "hello world\n", string(output))

	b.Crash(ids[1])
	require.Eventually(t, func() bool { return states(p)[ids[1]] == pool.Deleted }, time.Minute, time.Millisecond)
}

// many is a pool that has its thousand workers, with room for more.
func many(b *testing.B) *pool.Pool {
	big := config
	big.Max, big.ConcurrentStarts, big.StartTimeout = 10_000, 16, 5*time.Minute
	p, _, _ := syntheticPool(b, big)
	_, err := p.Grow(1000)
	require.NoError(b, err)
	waitFor(b, p, 1000)
	return p
}

// BenchmarkThousand is the time until a thousand new workers are all ready.
func BenchmarkThousand(b *testing.B) {
	for b.Loop() {
		many(b)
	}
}

// BenchmarkGrow100 is one call that promises a hundred workers to a pool that
// has a thousand. On a disk that is busy syncing, new directories wait for the file
// system's journal: compare with TMPDIR on a file system in memory.
func BenchmarkGrow100(b *testing.B) {
	p := many(b)
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		promised, err := p.Grow(100)
		took = append(took, time.Since(began))
		b.StopTimer()
		require.NoError(b, err)
		require.Equal(b, 100, promised)
		var young []string
		for _, w := range p.Workers()[1000:] {
			young = append(young, w.ID)
		}
		p.Shrink(young)
		for len(p.Workers()) > 1000 {
			time.Sleep(time.Millisecond)
		}
		b.StartTimer()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "median-ns/op")
}

// BenchmarkWorkers is one look at a thousand workers.
func BenchmarkWorkers(b *testing.B) {
	p := many(b)
	for b.Loop() {
		p.Workers()
	}
}

// BenchmarkHeartbeat is one heartbeat in a pool of a thousand workers.
func BenchmarkHeartbeat(b *testing.B) {
	p := many(b)
	id := p.Workers()[0].ID
	for b.Loop() {
		if err := p.Heartbeat(id); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWorker is a worker's whole life: grown, ready by SSH, shrunk, gone.
func BenchmarkWorker(b *testing.B) {
	p, _, _ := syntheticPool(b, config)
	for b.Loop() {
		_, err := p.Grow(1)
		require.NoError(b, err)
		p.Shrink(waitFor(b, p, 1))
		for len(p.Workers()) > 0 {
			time.Sleep(100 * time.Microsecond)
		}
	}
}
