//go:build linux

package user

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/claim"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// First and Count are the range of users, and of groups of the same numbers: those
// after the ids that containers are shifted to.
const (
	First = image.ShiftedBase + 1<<16
	Count = 1 << 16
)

// Ours says whether a user is one of the range.
func Ours(uid int) bool { return uid >= First && uid < First+Count }

// Book keeps which users are taken, in a directory that all pools of a host
// share. An owner has one at most.
type Book struct{ claims *claim.Book }

// New returns the book in dir. The first Take makes the directory. Books in two
// directories begin at different users.
func New(dir string) *Book {
	begin := startIn(dir)
	return &Book{claim.New(dir, claim.Stock{
		Name: "user", Size: Count,
		After: func(name string) string {
			uid, err := strconv.Atoi(name)
			switch {
			case err != nil, !Ours(uid):
				uid = begin
			case uid == First+Count-1:
				uid = First
			default:
				uid++
			}
			return strconv.Itoa(uid)
		},
		Valid: func(name string) bool {
			uid, err := strconv.Atoi(name)
			return err == nil && Ours(uid) && strconv.Itoa(uid) == name
		},
		Busy: hasProcesses,
	})}
}

// startIn is where a book begins.
func startIn(dir string) int {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(dir))
	return First + int(sum.Sum32()%Count)
}

// hasProcesses says whether a user has a process on this host: one of another
// state directory, or of a program that uses our range.
func hasProcesses(name string) bool {
	uid, err := strconv.Atoi(name)
	if err != nil {
		return false
	}
	_, err = unix.Getpriority(unix.PRIO_USER, uid)
	return !errors.Is(err, unix.ESRCH)
}

// Take returns the owner's user, and takes one for an owner that has none.
func (b *Book) Take(ctx context.Context, owner string) (uid int, err error) {
	held, err := b.claims.Held(owner)
	if err != nil {
		return 0, fmt.Errorf("taking a user for %s: %w", owner, err)
	}
	if len(held) > 0 {
		return strconv.Atoi(held[0])
	}
	name, err := b.claims.Take(ctx, owner)
	if err != nil {
		return 0, fmt.Errorf("taking a user for %s: %w", owner, err)
	}
	return strconv.Atoi(name)
}

// Give gives back the owner's user. It is idempotent. None of its processes may
// be left.
func (b *Book) Give(owner string) error {
	held, err := b.claims.Held(owner)
	if err == nil {
		err = b.claims.Give(owner, held)
	}
	if err != nil {
		return fmt.Errorf("giving back the user of %s: %w", owner, err)
	}
	return nil
}

// Owners are those that have a user.
func (b *Book) Owners() ([]string, error) {
	claims, err := b.claims.Owners()
	if err != nil {
		return nil, fmt.Errorf("looking who has a user: %w", err)
	}
	owners := make([]string, 0, len(claims))
	for _, owner := range claims {
		owners = append(owners, owner)
	}
	return owners, nil
}
