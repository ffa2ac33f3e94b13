package firewall

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAddIsApplyWhereThereIsNothing(t *testing.T) {
	for name, table := range tables(t) {
		t.Run(name, func(t *testing.T) {
			emptyNamespace(t)
			require.NoError(t, Add(table))
			added := ruleset(t)
			require.NoError(t, Apply(table))
			require.Equal(t, added, ruleset(t))
			require.Contains(t, added, "table inet "+table.Name)
		})
	}
}
