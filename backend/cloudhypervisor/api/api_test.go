package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// serve answers every request, and keeps the last.
func serve(t *testing.T, status int, body string) (client *Client, last *http.Request, sent *string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "api")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	last, sent = new(http.Request), new(string)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		*last, *sent = *r, string(text)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return New(socket), last, sent
}

func TestCalls(t *testing.T) {
	client, last, sent := serve(t, 204, "")
	for path, test := range map[string]struct {
		call func(context.Context) error
		body string
	}{
		"vm.boot":         {client.Boot, ""},
		"vm.pause":        {client.Pause, ""},
		"vm.resume":       {client.Resume, ""},
		"vm.power-button": {client.PowerButton, ""},
		"vmm.shutdown":    {client.ShutDown, ""},
		"vm.snapshot":     {func(ctx context.Context) error { return client.Snapshot(ctx, "/t") }, `{"destination_url":"file:///t"}`},
		"vm.restore": {func(ctx context.Context) error {
			return client.Restore(ctx, RestoreConfig{SourceURL: "file:///t", MemoryRestoreMode: Copy, Resume: true})
		}, `{"source_url":"file:///t","memory_restore_mode":"Copy","resume":true}`},
	} {
		require.NoError(t, test.call(t.Context()))
		require.Equal(t, "PUT", last.Method, path)
		require.Equal(t, "/api/v1/"+path, last.URL.Path)
		require.Equal(t, test.body, *sent)
		require.Equal(t, int64(len(test.body)), last.ContentLength, "never in chunks")
	}
}

func TestRefusalsSayWhy(t *testing.T) {
	for body, want := range map[string]string{
		`["Error from API","The VM could not boot","no such file"]`: "vm.boot: status 500: Error from API: The VM could not boot: no such file",
		"InternalServerError": "vm.boot: status 500: InternalServerError",
		"":                    "vm.boot: status 500: no reason given",
	} {
		client, _, _ := serve(t, 500, body)
		err := client.Boot(t.Context())
		require.EqualError(t, err, want)
	}
}

func TestASilentProgramEndsWithTheContext(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "api")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer listener.Close()
	reason := errors.New("the machine is gone")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, reason)
	defer cancel()
	err = New(socket).Boot(ctx)
	require.ErrorIs(t, err, reason)
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]Version{
		"cloud-hypervisor v53.0": {53, 0}, "53.0.0": {53, 0}, "v51.1": {51, 1}, "v53.0-12-gabcdef-dirty": {53, 0}, "v100.2": {100, 2},
	} {
		got, err := ParseVersion(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "53", "v53", "cloud-hypervisor", "vfive.0", "v53.0 and more", "99999999999.1"} {
		_, err := ParseVersion(text)
		require.Error(t, err, text)
	}
	require.True(t, Version{53, 0}.AtLeast(53))
	require.False(t, Version{52, 9}.AtLeast(53))
}

const stream = `{
  "timestamp": {"secs": 0, "nanos": 1693039},
  "source": "vmm", "event": "starting", "properties": null
}

{
  "timestamp": {"secs": 7, "nanos": 1},
  "source": "virtio-device", "event": "activated", "properties": {"id": "__rng"}
}

{ "timestamp": {"secs": 9, "nanos": 1}, "source": "guest", "event": "panic", "properties": {"event": "Panic"} }
`

func TestEventsAreRead(t *testing.T) {
	var names []string
	require.NoError(t, ReadEvents(strings.NewReader(stream), func(e Event) { names = append(names, e.String()) }))
	require.Equal(t, []string{"vmm starting", "virtio-device activated", Panicked}, names)

	names = nil
	rest := strings.NewReader(stream + "rubbish" + stream)
	require.ErrorContains(t, ReadEvents(rest, func(e Event) { names = append(names, e.String()) }), "reading events")
	require.Len(t, names, 3)
	require.Zero(t, rest.Len(), "all of it is drained, or the program would block")
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte(stream))
	f.Add([]byte(`{"source": 1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		in := strings.NewReader(string(text))
		_ = ReadEvents(in, func(Event) {})
		require.Zero(t, in.Len())
	})
}
