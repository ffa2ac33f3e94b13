package budget

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

const (
	processes  = 3
	perProcess = 40
	atOnce     = 4 // workers of each process, of 3 GiB each, on 8 GiB
)

// TestMain lets the test binary play another plugin process.
func TestMain(m *testing.M) {
	role, dir := os.Getenv("MAYFLY_TEST_ROLE"), os.Getenv("MAYFLY_TEST_DIR")
	var err error
	switch role {
	case "":
		os.Exit(m.Run())
	case "hold and wait":
		err = holdAndWait(of(dir, "dead"))
	default:
		err = churn(of(dir, role))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func process(ctx context.Context, dir, role string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "MAYFLY_TEST_ROLE="+role, "MAYFLY_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// holdAndWait holds 5 GiB, waits for 8 GiB more, says so, and never ends.
func holdAndWait(b *Budget) error {
	ctx := context.Background()
	if err := b.Reserve(ctx, "dead-aaaaaaaa", memory(5), silent); err != nil {
		return err
	}
	return b.Reserve(ctx, "dead-bbbbbbbb", memory(8), func(string) { fmt.Println("waits") })
}

func TestDeadProcessKeepsNobodyWaiting(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dead := process(ctx, dir, "hold and wait")
	out, err := dead.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, dead.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "waits\n", line)

	// It fits, but came later.
	b := of(dir, "b")
	behind, done := make(chan string, 10), make(chan error, 1)
	go func() {
		done <- b.Reserve(ctx, "b-aaaaaaaa", memory(3), func(reason string) { behind <- reason })
	}()
	require.Contains(t, <-behind, "behind other workers")
	require.NoError(t, dead.Process.Kill())
	require.Error(t, dead.Wait())
	require.NoError(t, <-done)

	// What the dead process held is held until its pool is opened again, or gc.
	again := of(dir, "dead")
	require.Equal(t, []string{"dead-aaaaaaaa"}, find(t, again))
	fits, err := b.ReserveSpare(ctx, "b-bbbbbbbb", memory(1))
	require.NoError(t, err)
	require.False(t, fits)
	require.NoError(t, again.Release(ctx, "dead-aaaaaaaa"))
	reserve(t, b, "b-bbbbbbbb", memory(1))
	require.NoError(t, b.Release(ctx, "b-bbbbbbbb"))
	requireNothingLeft(t, b, "b-aaaaaaaa")
}

// churn makes many workers, several at once, and fails when the book promises more
// than there is.
func churn(b *Budget) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	lives := make(chan error, atOnce)
	for range atOnce {
		go func() {
			for range perProcess / atOnce {
				if err := live(ctx, b); err != nil {
					lives <- err
					return
				}
			}
			lives <- nil
		}()
	}
	for range atOnce {
		if err := <-lives; err != nil {
			return err
		}
	}
	return nil
}

func live(ctx context.Context, b *Budget) error {
	id := workerid.New(b.options.Pool)
	if err := b.Reserve(ctx, id, memory(3), silent); err != nil {
		return err
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	held, err := b.book.read()
	unlock()
	var sum int64
	for _, cost := range held {
		sum += cost.Memory
	}
	if err == nil && sum > b.options.Limits.Memory {
		err = fmt.Errorf("%d GiB are held", sum/gib)
	}
	if err != nil {
		return err
	}
	return b.Release(ctx, id)
}

func TestProcessesNeverPromiseMoreThanThereIs(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	var running []*exec.Cmd
	for i := range processes {
		cmd := process(ctx, dir, fmt.Sprintf("pool%d", i))
		require.NoError(t, cmd.Start())
		running = append(running, cmd)
	}
	for _, cmd := range running {
		require.NoError(t, cmd.Wait())
	}
	b := of(dir, "pool0")
	require.Empty(t, find(t, b))
	require.False(t, b.Waiting())
	requireNothingLeft(t, b, "pool0-aaaaaaaa")
}

// BenchmarkReserve is a worker that fits, on a host with many others: reserved and
// given back.
func BenchmarkReserve(b *testing.B) {
	for _, others := range []int{0, 20, 200} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			book := New(Options{Dir: b.TempDir(), Pool: "a", Limits: Limits{Memory: 1 << 50}})
			for range others {
				if err := book.Reserve(b.Context(), workerid.New("a"), memory(1), silent); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if err := book.Reserve(b.Context(), "a-aaaaaaaa", memory(1), silent); err != nil {
					b.Fatal(err)
				}
				if err := book.Release(b.Context(), "a-aaaaaaaa"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
