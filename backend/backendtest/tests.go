package backendtest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/sshkey"
)

func testBuild(t *testing.T, b *bench) {
	first, second := b.golden(t), b.golden(t)
	assert.Equal(t, b.Recipe.Digest(), first.Digest)
	assert.Equal(t, first.Digest, second.Digest)
	assert.Equal(t, first.Dir, second.Dir)
}

func testReady(t *testing.T, b *bench) {
	w := b.start(t, b.id("ready"))
	assert.Equal(t, b.id("ready"), w.ID())
	assert.True(t, w.Address().IsValid())
	assert.Contains(t, []string{backend.Clone, backend.Fork}, w.How())
	assert.NoError(t, w.Err())
	b.ready(t, w)
}

func testOutlivesStart(t *testing.T, b *bench) {
	w := b.start(t, b.id("outlives"))
	b.ready(t, w)
	select {
	case <-w.Done():
		require.Fail(t, "machine ended with the context of its start", "%v", w.Err())
	case <-time.After(100 * time.Millisecond):
	}
	b.ready(t, w)
}

func testTwoWorkers(t *testing.T, b *bench) {
	one, other := b.start(t, b.id("one")), b.start(t, b.id("other"))
	b.ready(t, one)
	b.ready(t, other)
	assert.NotEqual(t, one.Address(), other.Address())
	err := access.SSH{}.Ready(b.context(t), one.Address(), other.Identity, other.Key)
	require.ErrorIs(t, err, sshkey.ErrHostKey, "one must not answer with the other's host key")

	require.NoError(t, b.Backend.Destroy(b.context(t), one.ID()))
	b.ready(t, other)
	assert.NoError(t, other.Err())
}

func testFind(t *testing.T, b *bench) {
	require.Empty(t, b.found(t, b.Backend))
	w := b.start(t, b.id("find"))
	assert.Equal(t, []string{w.ID()}, b.found(t, b.Backend))
	require.NoError(t, b.Backend.Destroy(b.context(t), w.ID()))
	assert.Empty(t, b.found(t, b.Backend))
}

func testFindAgain(t *testing.T, b *bench) {
	if b.Again == nil {
		t.Skip("the machines of this backend end with its process")
	}
	w := b.start(t, b.id("again"))
	next := b.Again(t)
	require.Equal(t, []string{w.ID()}, b.found(t, next))
	require.NoError(t, next.Destroy(b.context(t), w.ID()))
	b.ends(t, w)
	assert.Empty(t, b.found(t, b.Again(t)))
}

func testDestroyTwice(t *testing.T, b *bench) {
	w := b.start(t, b.id("twice"))
	require.NoError(t, b.Backend.Destroy(b.context(t), w.ID()))
	b.ends(t, w)
	require.NoError(t, b.Backend.Destroy(b.context(t), w.ID()))
}

func testDestroyUnknown(t *testing.T, b *bench) {
	require.NoError(t, b.Backend.Destroy(b.context(t), b.id("unknown")))

	// Reserved, but nothing was made yet: the pool crashed in between.
	id := b.id("bare")
	_, err := b.store.Reserve(id)
	require.NoError(t, err)
	t.Cleanup(func() { b.remove(t, id) })
	require.NoError(t, b.Backend.Destroy(b.context(t), id))
}

func testKilled(t *testing.T, b *bench) {
	w := b.start(t, b.id("killed"))
	b.ready(t, w)
	require.NoError(t, w.Err())
	b.Kill(t, w.ID())
	b.ends(t, w)
	require.NoError(t, b.Backend.Destroy(b.context(t), w.ID()))
	assert.Empty(t, b.found(t, b.Backend))
}

// testCancelledStart cancels at several moments, since each may leave
// something else behind.
func testCancelledStart(t *testing.T, b *bench) {
	golden := b.golden(t)
	for end, after := range map[string]time.Duration{"never": 0, "soon": time.Millisecond, "later": 50 * time.Millisecond} {
		id := b.id(end)
		spec, _ := b.prepare(t, id)
		ctx, cancel := context.WithTimeout(t.Context(), after)
		machine, err := b.Backend.Start(ctx, golden, spec)
		cancel()
		if after == 0 {
			require.Error(t, err)
		}
		require.NoError(t, b.Backend.Destroy(b.context(t), id))
		if err == nil { // it was faster than we are
			b.ends(t, machine)
		}
		assert.Empty(t, b.found(t, b.Backend))
	}
}

func testCancelledBuild(t *testing.T, b *bench) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	recipe := b.Recipe
	recipe.Run = append(recipe.Run[:len(recipe.Run):len(recipe.Run)], "true # never built before")
	_, err := b.Backend.Build(ctx, recipe, func(string, string) {})
	require.ErrorIs(t, err, context.Canceled)
}
