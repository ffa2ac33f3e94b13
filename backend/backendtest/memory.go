package backendtest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
)

func testMemory(t *testing.T, b *bench) {
	metered, ok := b.Backend.(backend.Metered)
	if !ok {
		t.Skip("this backend does not tell what its machines take")
	}
	w := b.start(t, b.id("memory"))
	b.ready(t, w)
	used, err := metered.Memory(b.context(t))
	require.NoError(t, err)
	require.Len(t, used, 1)
	of := used[w.ID()]
	assert.Greater(t, of.Private, int64(1<<20), "a guest has written to some pages of its own at least")
	assert.GreaterOrEqual(t, of.PSS, of.Private)

	require.NoError(t, b.Backend.Destroy(b.context(t), w.ID()))
	used, err = metered.Memory(b.context(t))
	require.NoError(t, err)
	assert.Empty(t, used)
}
