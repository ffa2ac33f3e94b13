package lines

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEndOfAnEndlessAnswer(t *testing.T) {
	var e Ending
	for n := range 10000 {
		_, err := fmt.Fprintf(&e, "%09d\n", n)
		require.NoError(t, err)
	}
	require.Len(t, e.String(), mostOfEnding)
	require.True(t, strings.HasSuffix(e.String(), "000009998\n000009999\n"))
	n, err := e.Write([]byte(strings.Repeat("x", 2*mostOfEnding)))
	require.NoError(t, err)
	require.Equal(t, 2*mostOfEnding, n)
	require.Equal(t, strings.Repeat("x", mostOfEnding), e.String())
}
