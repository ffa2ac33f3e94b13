//go:build linux

package island

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOptionsReportEveryMistake(t *testing.T) {
	err := Options{PoolDir: "pools/p"}.validate()
	for _, part := range []string{`"pools/p"`, "no name"} {
		require.ErrorContains(t, err, part)
	}
}
