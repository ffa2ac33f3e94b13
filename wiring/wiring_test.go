package wiring

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func TestEveryBackendIsBuiltFromTheDefaults(t *testing.T) {
	names := make(map[string]bool)
	for _, b := range Host().Backends {
		a, err := b.Build(config.Default(), slog.New(slog.DiscardHandler))
		require.NoError(t, err, b.Name)
		require.NotNil(t, a.Backend, b.Name)
		require.NotNil(t, a.Network, b.Name)
		require.NotNil(t, a.Access, b.Name)
		require.False(t, names[b.Name], "%s is in the table twice", b.Name)
		names[b.Name] = true
	}
}

// Jobs are not isolated by one, and share the host's kernel with the other.
func TestNobodyGetsASharedKernelWithoutAskingForIt(t *testing.T) {
	for _, b := range Host().Backends {
		if b.Name == config.BackendSynthetic || b.Name == config.BackendNspawn {
			require.False(t, b.Automatic, b.Name)
		}
	}
}
