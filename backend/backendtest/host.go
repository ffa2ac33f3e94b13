package backendtest

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
)

// testFullDisk wants the reason in the error, and a worker in the same pool as
// soon as there is room again.
func testFullDisk(t *testing.T, b *bench) {
	if b.Fill == nil {
		t.Skip("this backend writes nothing to a worker's directory, so that no disk can be full")
	}
	golden := b.golden(t)
	spec, _ := b.prepare(t, b.id("full"))
	free := b.Fill(t, spec.Dir)
	_, err := b.Backend.Start(b.context(t), golden, spec)
	assert.ErrorContains(t, err, "o space left on device")
	assert.NoError(t, b.Backend.Destroy(b.context(t), spec.ID), "it must not need room")
	assert.Empty(t, b.found(t, b.Backend))
	free()

	b.ready(t, b.start(t, b.id("room")))
}

// testTwoPools has the pools alive side by side, as two plugin processes of one
// host have them.
func testTwoPools(t *testing.T, b *bench) {
	require.NotNil(t, b.Other, "the harness must be able to make another pool")
	other := newBench(t, b.Other(t))
	require.NotEqual(t, b.Name, other.Name)
	require.NotEqual(t, b.Dir, other.Dir)

	ours := b.start(t, b.id("ours"))
	theirs := other.start(t, other.id("theirs"))
	assert.Equal(t, []string{ours.ID()}, b.found(t, b.Backend))
	assert.Equal(t, []string{theirs.ID()}, other.found(t, other.Backend))
	assert.NotEqual(t, ours.Address(), theirs.Address())

	// Whoever asks the wrong pool is told that there is no such worker.
	require.NoError(t, b.Backend.Destroy(b.context(t), theirs.ID()))
	require.NoError(t, b.Network.Release(b.context(t), theirs.ID()))
	other.ready(t, theirs)
	require.NoError(t, theirs.Err())

	require.NoError(t, other.Backend.Destroy(other.context(t), theirs.ID()))
	b.ready(t, ours)
	assert.Equal(t, []string{ours.ID()}, b.found(t, b.Backend))
	assert.Empty(t, other.found(t, other.Backend))
}

// consolePause is the pause between two looks at a console.
const consolePause = 50 * time.Millisecond

// testConsole has the guest say something there: one that boots without a
// complaint may well be silent.
func testConsole(t *testing.T, b *bench) {
	console, ok := b.Backend.(backend.Console)
	if !ok {
		t.Skip("this backend keeps no boot log")
	}
	w := b.start(t, b.id("console"))
	b.ready(t, w)
	const said = "seen on the console"
	w.Output(t, "echo '"+said+"' | sudo -n tee /dev/console")
	path := console.ConsolePath(b.store.Dir(w.ID()))
	for deadline := time.Now().Add(b.Patience); ; time.Sleep(consolePause) {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		if strings.Contains(string(text), said) {
			return
		}
		require.False(t, time.Now().After(deadline), "%s has not what the guest said there, but: %s", path, text)
	}
}
