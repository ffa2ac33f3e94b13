//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

func TestEverySectionCanBeMeasured(t *testing.T) {
	require.ElementsMatch(t, report.Sections, slices.Collect(maps.Keys(sections)))
	for name, section := range sections {
		require.NotNil(t, section.measure, name)
		_, err := config.Default().With(section.change)
		require.NoError(t, err, name)
	}
}

func TestWhatIsSetUpIsUndoneInReverseAlsoWhenInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var b bench
	var undone []string
	note := func(what string) func(context.Context) error {
		return func(ctx context.Context) error {
			undone = append(undone, what)
			return ctx.Err()
		}
	}
	b.later(note("outside"))
	err := b.within(ctx, func() error {
		b.later(note("first"))
		b.later(note("second"))
		b.later(func(context.Context) error { return errors.New("not undone") })
		cancel()
		return context.Cause(ctx)
	})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "not undone")
	require.Equal(t, []string{"second", "first"}, undone)
	require.NoError(t, b.cleanUp(ctx))
	require.Equal(t, []string{"second", "first", "outside"}, undone)
}

func TestWaysTakeTurns(t *testing.T) {
	b := bench{options: options{turns: 2}}
	var order []string
	failed := false
	taking := func(name string, seconds float64) way {
		return way{name, func(context.Context) (map[string]float64, error) {
			if name == "fork" && !failed {
				failed = true
				return map[string]float64{"row": 99}, errors.New("fails once")
			}
			order = append(order, name)
			return map[string]float64{"row": seconds}, nil
		}}
	}
	var d report.Document
	err := b.compare(t.Context(), &d, "section", []string{"row"}, []way{taking("clone", 4), taking("fork", 1)})
	require.NoError(t, err)
	require.Equal(t, []string{"clone", "fork", "clone", "fork"}, order)
	require.Equal(t, 1, b.repeated)
	row := d.Compared["section"].Rows[0]
	require.Equal(t, []float64{1, 1}, row.Seconds[1].Samples, "a round that failed is not counted")
	require.Equal(t, []float64{0.25}, row.Ratios)
}

func TestChoresSayHowLongEachTook(t *testing.T) {
	var lines []string
	for range chores {
		lines = append(lines, "took 1500000")
	}
	took, err := parseChores(strings.Join(lines, "\n") + "\n")
	require.NoError(t, err)
	require.Len(t, took, len(chores))
	require.Equal(t, 1.5, took[chores[0].row])
	for _, bad := range []string{"", "took 1", strings.Repeat("took 0\n", len(chores)),
		strings.Repeat("1500000\n", len(chores)), strings.Join(append(lines, "fio: failed"), "\n"),
		strings.Join(lines[1:], "\n") + "\ntook much"} {
		_, err := parseChores(bad)
		require.Error(t, err, bad)
	}
	for _, script := range append([]string{
		choresScript(), asRoot(dockerReady), asRoot(oneContainer), asRoot(postgresReady), asRoot(oneQuery),
	}, serviceSteps...) {
		said, err := exec.Command("bash", "-n", "-c", script).CombinedOutput()
		require.NoError(t, err, "%s\n%s", said, script)
	}
}

// bash itself takes the time, and knows commands that fail.
func TestTimeOfAChoreIsTakenInside(t *testing.T) {
	uncached := strings.Replace(tools, "calm() {", "calm() { return 0;", 1)
	require.NotEqual(t, tools, uncached)
	said, err := exec.Command("bash", "-c", uncached+"timed sleep 0.01").CombinedOutput()
	require.NoError(t, err, "%s", said)
	require.Regexp(t, `^took [1-9][0-9]{4,}\n$`, string(said))
	said, err = exec.Command("bash", "-c", uncached+"timed false").CombinedOutput()
	require.Error(t, err)
	require.Empty(t, string(said))
}

func TestBytesAreSentBothWays(t *testing.T) {
	address := netip.MustParseAddr("127.78.66.2") // loopback, and nobody else's
	listening := func(serve func(*net.TCPConn) error) worker {
		return worker{address: netip.AddrPortFrom(address, 22), run: func(context.Context, string) (string, error) {
			listener, err := net.Listen("tcp", netip.AddrPortFrom(address, sentPort).String())
			if err != nil {
				return "", err
			}
			defer listener.Close()
			connection, err := listener.Accept()
			if err != nil {
				return "", err
			}
			defer connection.Close()
			return "", serve(connection.(*net.TCPConn))
		}}
	}
	took, err := transfer(t.Context(), listening(func(c *net.TCPConn) error {
		_, err := io.Copy(io.Discard, c)
		return err
	}), reads, send)
	require.NoError(t, err)
	require.Positive(t, took)
	took, err = transfer(t.Context(), listening(func(c *net.TCPConn) error {
		_, err := io.CopyN(c, zeros{}, sent)
		return err
	}), writes, receive)
	require.NoError(t, err)
	require.Positive(t, took)

	_, err = transfer(t.Context(), listening(func(c *net.TCPConn) error {
		if err := c.CloseWrite(); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, c) // until the other end hangs up
		return err
	}), writes, receive)
	require.ErrorContains(t, err, "0 bytes came")
	broken := worker{address: netip.AddrPortFrom(address, 22), run: func(context.Context, string) (string, error) {
		return "no socat", errors.New("exit code 127")
	}}
	_, err = transfer(t.Context(), broken, writes, receive)
	require.ErrorContains(t, err, "no socat")
}

func TestNothingIsFilledThatTheHostHasNot(t *testing.T) {
	require.NoError(t, checkRoom(10<<30, 8<<30))
	require.ErrorContains(t, checkRoom(10<<30-1, 8<<30), "smaller -density")
}

func TestFirstAndFourthAreInTheOrderOfBeingReady(t *testing.T) {
	took := inTurn([]worker{{ready: 3}, {ready: 1}, {ready: 4}, {ready: 2}}, 0.5)
	require.Equal(t, map[string]float64{firstReady: 1.5, fourthReady: 4.5}, took)
}
