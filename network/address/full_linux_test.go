package address

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

// TestFullDiskLosesNoAddress has an address taken and given back on a disk
// without room, and the order go on when there is some.
func TestFullDiskLosesNoAddress(t *testing.T) {
	d := sandbox.NewDisk(t, 16<<20)
	book := bookIn(t, filepath.Join(d.Dir, "addresses"), "10.9.0.0/28")
	require.Equal(t, "10.9.0.2", take(t, book, "pool/a"))
	require.Equal(t, "10.9.0.3", take(t, book, "pool/b"))

	d.Fill(0)
	_, err := book.Take(t.Context(), "pool/c")
	require.ErrorContains(t, err, "the file system of "+filepath.Join(d.Dir, "addresses")+" is full")
	owners, err := book.Owners()
	require.NoError(t, err)
	require.Len(t, owners, 2, "nothing is half taken")
	give(t, book, "pool/a")
	owners, err = book.Owners()
	require.NoError(t, err)
	require.Len(t, owners, 1, "giving back needs no room")

	d.Empty()
	require.Equal(t, "10.9.0.4", take(t, book, "pool/c"), "it is known which was given last")
}
