//go:build linux

package qemu

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryStartHasAGenerationOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		generation := newGeneration()
		require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, generation)
		require.False(t, seen[generation])
		seen[generation] = true
	}
}
