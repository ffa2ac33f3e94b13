package address

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
)

func newBook(t *testing.T, subnet string) *Book {
	t.Helper()
	book, err := New(t.TempDir(), netip.MustParsePrefix(subnet))
	require.NoError(t, err)
	return book
}

func take(t *testing.T, book *Book, owner string) string {
	t.Helper()
	addr, err := book.Take(t.Context(), owner)
	require.NoError(t, err)
	return addr.String()
}

// give gives back all that the owner has.
func give(t *testing.T, book *Book, owner string) {
	t.Helper()
	held, err := book.Held(owner)
	require.NoError(t, err)
	require.NoError(t, book.Give(owner, held))
}

func TestLookingMakesNothing(t *testing.T) {
	book, err := New(filepath.Join(t.TempDir(), "addresses"), netip.MustParsePrefix("10.9.0.0/29"))
	require.NoError(t, err)
	give(t, book, "p/a")
	owners, err := book.Owners()
	require.NoError(t, err)
	require.Empty(t, owners)
	require.NoDirExists(t, book.dir)
}

func TestAddressJustGivenBackRests(t *testing.T) {
	book := newBook(t, "10.9.0.0/29")
	require.Equal(t, "10.9.0.2", take(t, book, "p/a"))
	give(t, book, "p/a")
	require.Equal(t, "10.9.0.3", take(t, book, "p/b"))
}

func TestTakeGoesRoundAndNeverGivesReservedAddresses(t *testing.T) {
	book := newBook(t, "10.9.0.0/29")
	for _, want := range []string{"10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5", "10.9.0.6"} {
		require.Equal(t, want, take(t, book, "p/"+want))
	}
	_, err := book.Take(t.Context(), "p/more")
	require.ErrorIs(t, err, errFull)

	give(t, book, "p/10.9.0.4")
	require.Equal(t, "10.9.0.4", take(t, book, "p/more"))
}

func TestGiveReturnsAllAddressesOfItsOwnerOnly(t *testing.T) {
	book := newBook(t, "10.9.0.0/24")
	take(t, book, "p/a")
	take(t, book, "p/a")
	kept := take(t, book, "p/b")

	give(t, book, "p/a")
	give(t, book, "p/a")
	owners, err := book.Owners()
	require.NoError(t, err)
	require.Equal(t, map[netip.Addr]string{netip.MustParseAddr(kept): "p/b"}, owners)
}

func TestGiveLeavesWhatAnotherHasTakenSince(t *testing.T) {
	book := newBook(t, "10.9.0.0/30")
	take(t, book, "p/a")
	held, err := book.Held("p/a")
	require.NoError(t, err)
	require.NoError(t, book.Give("p/a", held))
	take(t, book, "p/b")
	require.NoError(t, book.Give("p/a", held), "it is idempotent")
	owners, err := book.Owners()
	require.NoError(t, err)
	require.Equal(t, map[netip.Addr]string{held[0]: "p/b"}, owners)
}

func TestNobodyWaitsForWhoLooks(t *testing.T) {
	book := newBook(t, "10.9.0.0/24")
	addr := take(t, book, "p/a")
	lock, err := filelock.Acquire(t.Context(), book.lockFile())
	require.NoError(t, err)
	defer lock.Release()
	held, err := book.Held("p/a")
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr(addr)}, held)
}

func TestFileThatACrashLeftEmptyIsFree(t *testing.T) {
	book := newBook(t, "10.9.0.0/30")
	require.NoError(t, os.WriteFile(filepath.Join(book.dir, "10.9.0.2"), nil, 0o600))
	owners, err := book.Owners()
	require.NoError(t, err)
	require.Empty(t, owners)
	require.Equal(t, "10.9.0.2", take(t, book, "p/a"))
}

func TestTornMemoryStartsAnew(t *testing.T) {
	book := newBook(t, "10.9.0.0/24")
	require.NoError(t, os.WriteFile(book.memory(), []byte("10.9."), 0o600))
	require.Equal(t, "10.9.0.2", take(t, book, "p/a"))
}

func TestSubnetsInOneDirectory(t *testing.T) {
	first := newBook(t, "10.9.0.0/24")
	second, err := New(first.dir, netip.MustParsePrefix("10.8.0.0/24"))
	require.NoError(t, err)
	take(t, first, "p/a")
	require.Equal(t, "10.8.0.2", take(t, second, "q/a"))

	give(t, second, "p/a") // a changed subnet must not lose what was taken before
	owners, err := first.Owners()
	require.NoError(t, err)
	require.Len(t, owners, 1)
}

func TestWaitForTheLockEndsWithTheContext(t *testing.T) {
	book := newBook(t, "10.9.0.0/24")
	lock, err := filelock.Acquire(t.Context(), book.lockFile())
	require.NoError(t, err)
	defer lock.Release()

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = book.Take(ctx, "p/a")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestSubnetWithoutRoomIsRefused(t *testing.T) {
	for _, subnet := range []string{"10.0.0.0/31", "10.0.0.0/32", "0.0.0.0/0", "fd00::/64"} {
		_, err := New(t.TempDir(), netip.MustParsePrefix(subnet))
		require.ErrorContains(t, err, "has no room for a worker", subnet)
	}
}
