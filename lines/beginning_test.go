package lines

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBeginningOfAnEndlessAnswer(t *testing.T) {
	var b Beginning
	for n := range 10000 {
		_, err := fmt.Fprintf(&b, "%09d\n", n)
		require.NoError(t, err)
	}
	require.Len(t, b.String(), 64<<10)
	require.True(t, strings.HasPrefix(b.String(), "000000000\n000000001\n"))
}
