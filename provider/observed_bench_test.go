package provider

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe/endpoint"
)

// observed is full with metrics and the page served, and what asks for them.
func observed(b *testing.B, workers, max int) (g *InstanceGroup, ask func(path string) (bytes int64)) {
	socket := filepath.Join(shortDir(b), "metrics.sock")
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}}
	g = fullWith(b, workers, max, fmt.Sprintf(`, "metrics": {"listen": %q}`, socket), []host.Observer{endpoint.Run})
	return g, func(path string) int64 {
		answer, err := client.Get("http://mayfly" + path)
		require.NoError(b, err)
		defer answer.Body.Close()
		require.Equal(b, http.StatusOK, answer.StatusCode)
		n, err := io.Copy(io.Discard, answer.Body)
		require.NoError(b, err)
		return n
	}
}

// whileAsked measures while somebody asks for metrics and the page all the time, which are
// looked at anew once a second.
func whileAsked(b *testing.B, ask func(string) int64, measure func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
				ask("/metrics")
				ask("/")
			}
		}
	}()
	measure()
	close(stop)
	<-stopped
}

func BenchmarkUpdateOf1000Observed(b *testing.B) {
	g, ask := observed(b, 1000, 1000)
	whileAsked(b, ask, func() { update(b, g) })
}

func BenchmarkIncreaseBy100Beside1000Observed(b *testing.B) {
	g, ask := observed(b, 1000, 1100)
	whileAsked(b, ask, func() { increase(b, g) })
}

// BenchmarkScrapeOf1000 includes a look at everything each time.
func BenchmarkScrapeOf1000(b *testing.B) {
	_, ask := observed(b, 1000, 1000)
	asked(b, func() int64 { return ask("/metrics") })
}

// BenchmarkPageOf1000 includes a look at everything each time.
func BenchmarkPageOf1000(b *testing.B) {
	_, ask := observed(b, 1000, 1000)
	asked(b, func() int64 { return ask("/") })
}

// asked measures answers, each more than the second later for which a look serves.
func asked(b *testing.B, ask func() int64) {
	var bytes int64
	for b.Loop() {
		b.StopTimer()
		time.Sleep(1100 * time.Millisecond)
		b.StartTimer()
		bytes = ask()
	}
	b.ReportMetric(float64(bytes), "bytes")
}
