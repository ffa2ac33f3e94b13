package address

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/claim"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
)

// testBook is a book whose directory the test knows.
type testBook struct {
	*Book
	dir string
}

func newBook(t *testing.T, subnet string) testBook {
	t.Helper()
	return bookIn(t, t.TempDir(), subnet)
}

func bookIn(t *testing.T, dir, subnet string) testBook {
	t.Helper()
	book, err := New(dir, netip.MustParsePrefix(subnet))
	require.NoError(t, err)
	return testBook{book, dir}
}

func (b testBook) lockFile() string { return filepath.Join(b.dir, "lock") }

// memory is the file that names the address given last, of the subnet of most tests.
func (b testBook) memory() string { return filepath.Join(b.dir, "last-10.9.0.0-29") }

func take(t *testing.T, book testBook, owner string) string {
	t.Helper()
	addr, err := book.Take(t.Context(), owner)
	require.NoError(t, err)
	return addr.String()
}

// give gives back all that the owner has.
func give(t *testing.T, book testBook, owner string) {
	t.Helper()
	held, err := book.Held(owner)
	require.NoError(t, err)
	require.NoError(t, book.Give(owner, held))
}

func TestLookingMakesNothing(t *testing.T) {
	book := bookIn(t, filepath.Join(t.TempDir(), "addresses"), "10.9.0.0/29")
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
	require.ErrorIs(t, err, claim.ErrNoneLeft)

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
	require.NoError(t, os.WriteFile(filepath.Join(book.dir, "last-10.9.0.0-24"), []byte("10.9."), 0o600))
	require.Equal(t, "10.9.0.2", take(t, book, "p/a"))
}

func TestSubnetsInOneDirectory(t *testing.T) {
	first := newBook(t, "10.9.0.0/24")
	second := bookIn(t, first.dir, "10.8.0.0/24")
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

// One bad entry costs its own address, and nothing else.
func TestWhatNoBookHasWrittenIsLeftAlone(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"a link to a file": func(path string) error {
			if err := os.WriteFile(path+"-elsewhere", nil, 0o600); err != nil {
				return err
			}
			return os.Symlink(path+"-elsewhere", path)
		},
		"a link to nothing": func(path string) error { return os.Symlink(path+"-elsewhere", path) },
		"a directory":       func(path string) error { return os.Mkdir(path, 0o700) },
		"a pipe":            func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a large file":      func(path string) error { return os.WriteFile(path, make([]byte, 256), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			book := newBook(t, "10.9.0.0/29")
			bad := filepath.Join(book.dir, "10.9.0.2")
			require.NoError(t, plant(bad))
			require.Equal(t, "10.9.0.3", take(t, book, "p/a"))
			owners, err := book.Owners()
			require.NoError(t, err)
			require.Len(t, owners, 1)
			give(t, book, "p/a")
			require.Len(t, book.Foreign(), 1)
			require.ErrorContains(t, book.Foreign()[0], bad)
			text, _ := os.ReadFile(bad + "-elsewhere")
			require.Empty(t, text, "it was written to where the link leads")
		})
	}
}

func TestMemoryOfTheLastAddressMayBeAnything(t *testing.T) {
	for _, text := range []string{"", "\x00", "10.9.0", "10.200.0.1", "10.9.0.255", "fd00::1", "10.9.0.6\n"} {
		book := newBook(t, "10.9.0.0/29")
		require.NoError(t, os.WriteFile(book.memory(), []byte(text), 0o600))
		require.Equal(t, "10.9.0.2", take(t, book, "p/a"), "%q", text)
	}
	book := newBook(t, "10.9.0.0/29")
	require.NoError(t, os.Symlink("elsewhere", book.memory()))
	_, err := book.Take(t.Context(), "p/a")
	require.ErrorContains(t, err, book.memory()+" is a symbolic link")
	require.NoFileExists(t, filepath.Join(book.dir, "elsewhere"))
}

func TestOwnersHaveNames(t *testing.T) {
	book := newBook(t, "10.9.0.0/29")
	for _, owner := range []string{"", strings.Repeat("x", 256)} {
		_, err := book.Take(t.Context(), owner)
		require.ErrorContains(t, err, "has not 1 to 255 bytes")
	}
}
