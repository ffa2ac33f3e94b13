//go:build linux

package vmm

import (
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
)

// TestWorkersAreForkedWhileTheNextTemplateIsMade has a pool go over from one golden image
// to another.
func TestWorkersAreForkedWhileTheNextTemplateIsMade(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.prepare(t)
	newer := b.golden
	newer.Digest = "newer"
	asked := 0
	forked := func(string, string) {
		asked++
		m, _ := b.start(t, b.spec(t, "form"))
		require.Equal(t, backend.Fork, m.How())
	}
	require.NoError(t, b.Prepare(t.Context(), newer, b.size, []string{b.golden.Digest, newer.Digest}, nil, forked))
	require.Equal(t, 1, asked)
	require.True(t, b.Stockable(t.Context(), b.golden, b.size), "one may be on its way up")
	require.True(t, b.Stockable(t.Context(), newer, b.size))

	former := b.golden
	b.golden = newer
	m, _ := b.start(t, b.spec(t, "newr"))
	require.Equal(t, backend.Fork, m.How())
	require.NoError(t, b.Prepare(t.Context(), newer, b.size, []string{newer.Digest}, nil, nil))
	require.False(t, b.Stockable(t.Context(), former, b.size))
	require.Len(t, b.machines, 2, "those that run lose nothing by it")
	for _, m := range b.machines {
		require.NoError(t, m.Err())
	}
}
