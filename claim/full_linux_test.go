package claim_test

import (
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/claim"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

// TestLastIsNotedWithoutRoom has room for one claim, and none more.
func TestLastIsNotedWithoutRoom(t *testing.T) {
	d := sandbox.NewDisk(t, 16<<20)
	isNumber := func(name string) bool { _, err := strconv.Atoi(name); return err == nil }
	book := claim.New(filepath.Join(d.Dir, "numbers"), claim.Stock{
		Name: "number", Size: 20, Valid: isNumber,
		After: func(name string) string {
			n, _ := strconv.Atoi(name)
			return strconv.Itoa(n + 1)
		},
	})
	take := func(owner, want string) {
		got, err := book.Take(t.Context(), owner)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	take("pool/a", "1")
	take("pool/a", "2")
	d.Fill(4096)
	take("pool/b", "3")
	d.Empty()
	take("pool/b", "4")
}
