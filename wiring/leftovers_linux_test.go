package wiring

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host/diskguard"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

// house is a state directory on a small disk, with things of every kind in it.
type house struct {
	*sandbox.Disk
	t *testing.T
	config.Config
}

func newHouse(t *testing.T) *house {
	d := sandbox.NewDisk(t, 128<<20)
	c, err := config.Default().With(func(c *config.Config) { c.StateDir = d.Dir })
	require.NoError(t, err)
	return &house{d, t, c}
}

// write writes a file of 4 MiB, which was used so long ago.
func (h *house) write(age time.Duration, elements ...string) string {
	h.t.Helper()
	path := filepath.Join(append([]string{h.StateDir}, elements...)...)
	require.NoError(h.t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(h.t, os.WriteFile(path, make([]byte, 4<<20), 0o600))
	at := time.Now().Add(-age)
	require.NoError(h.t, os.Chtimes(path, at, at))
	return path
}

// image makes a golden image of 4 MiB, which was used so long ago.
func (h *house) image(name string, age time.Duration) image.Golden {
	h.t.Helper()
	golden, err := cache.New(h.ImagesDir()).Build(h.t.Context(), image.Recipe{User: name},
		func(_ context.Context, work string) (root string, err error) {
			return "", os.WriteFile(filepath.Join(work, image.DiskFile), make([]byte, 4<<20), 0o600)
		})
	require.NoError(h.t, err)
	at := time.Now().Add(-age)
	require.NoError(h.t, os.Chtimes(golden.Dir, at, at))
	return golden
}

// layer makes a layer of 4 MiB, in a build that fails, and returns its key.
func (h *house) layer() string {
	h.t.Helper()
	recipe := image.Recipe{User: "layered"}
	nothing := func(context.Context, image.Recipe) (string, error) { return "", nil }
	_, err := cache.New(h.ImagesDir()).BuildInLayers(h.t.Context(), recipe, nothing,
		func(ctx context.Context, _ string, stack *cache.Stack) (made image.Manifest, err error) {
			made.Steps = recipe.Parts()
			require.NoError(h.t, stack.Keep(ctx, made, func(_ context.Context, dir string) error {
				return os.WriteFile(filepath.Join(dir, image.DiskFile), make([]byte, 4<<20), 0o600)
			}))
			return made, errors.New("the build fails")
		})
	require.ErrorContains(h.t, err, "the build fails")
	return recipe.Layers("")[0]
}

func (h *house) worker(pool, id, digest, state string) {
	h.t.Helper()
	s, err := store.Open(filepath.Join(h.StateDir, "pools", pool))
	require.NoError(h.t, err)
	_, err = s.Reserve(id)
	require.NoError(h.t, err)
	require.NoError(h.t, s.Save(store.Record{ID: id, State: state, ImageDigest: digest}))
}

func (h *house) template(pool, digest string) {
	h.t.Helper()
	text, err := json.Marshal(template.Template{Basis: template.Basis{Golden: digest}})
	require.NoError(h.t, err)
	path := h.write(0, "pools", pool, "templates", "key", "template.json")
	require.NoError(h.t, os.WriteFile(path, text, 0o600))
}

// TestRoomIsMadeOfWhatNobodyUsesInOrder asks for all the room that there could be.
func TestRoomIsMadeOfWhatNobodyUsesInOrder(t *testing.T) {
	h := newHouse(t)
	suspended, forked := h.image("suspended", time.Hour), h.image("forked", time.Hour)
	served := h.image("served", time.Hour)
	older, old := h.image("older", 3*time.Hour), h.image("old", 2*time.Hour)
	h.worker("gone", "gone-aaaaaaaa", suspended.Digest, "suspended") // a pool that no process serves
	require.NoError(t, os.MkdirAll(filepath.Join(h.StateDir, "pools", "gone", "workers", "gone-bbbbbbbb"), 0o700))
	h.template("other", forked.Digest)
	release, err := served.Hold(t.Context())
	require.NoError(t, err)
	defer release()
	layer := h.layer()
	h.write(time.Hour, "images", ".building-"+strings.Repeat("a", 32)+"-1-x", "disk.raw")
	h.write(time.Hour, "pools", "other", "templates", ".making-x", "memory")
	h.write(2*time.Hour, "downloads", "sha256-a.part")
	h.write(2*time.Hour, "downloads", "sha256-b")

	var log strings.Builder
	guard := diskguard.New(diskguard.Options{
		Dir: h.StateDir, Reserve: 1 << 40, Lists: leftovers(h.Config), Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	freeable, err := guard.Freeable()
	require.NoError(t, err)
	require.InDelta(t, 7*4<<20, freeable, 1<<20)
	before := h.Free()
	require.ErrorAs(t, guard.Check(t.Context()), new(*diskguard.Short))
	require.InDelta(t, 7*4<<20, h.Free()-before, 1<<20)
	after := log.String()
	for _, what := range []string{"unfinished golden image ", "unfinished template ",
		"unfinished download sha256-a.part",
		"layer " + layer, "golden image " + older.Digest, "golden image " + old.Digest, "download sha256-b"} {
		i := strings.Index(after, what)
		require.NotEqual(t, -1, i, "%s in its turn: %s", what, log.String())
		after = after[i:]
	}
	for _, stays := range []image.Golden{suspended, forked, served} {
		_, found, err := cache.New(h.ImagesDir()).Get(stays.Digest)
		require.NoError(t, err)
		require.True(t, found, stays.Recipe.User)
	}
	require.DirExists(t, filepath.Join(h.StateDir, "pools", "other", "templates", "key"))
}

// A record that cannot be read may be that of a worker whose disk is an overlay.
func TestNoImageGoesWhileARecordCannotBeRead(t *testing.T) {
	h := newHouse(t)
	h.image("old", time.Hour)
	h.worker("p", "p-aaaaaaaa", "d", "suspended")
	record := filepath.Join(h.StateDir, "pools", "p", "workers", "p-aaaaaaaa", store.RecordFile)
	require.NoError(t, os.WriteFile(record, []byte(`{"version": 99}`), 0o600))
	guard := diskguard.New(diskguard.Options{
		Dir: h.StateDir, Lists: leftovers(h.Config), Log: slog.New(slog.DiscardHandler),
	})
	freeable, err := guard.Freeable()
	require.ErrorIs(t, err, store.ErrNewer)
	require.Zero(t, freeable)
}
