// Package address keeps which addresses of a pool's subnet are taken, in a
// directory that all pools of a host share: one small file for each taken
// address, its name the address, its content the owner. Several processes may
// use the directory at once. What an address is used for, and whether the
// kernel agrees, is not known here.
package address

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// errFull says that every address of the subnet is taken.
var errFull = errors.New("every address is taken")

// patience bounds the wait for the lock where the caller gives no context. A
// holder needs milliseconds, more on a busy disk; one that needs longer than this
// is stopped or stuck.
const patience = time.Minute

// Book is the list of taken addresses. It keeps nothing in memory: all of it
// is in the directory, and every change is made under a lock there that the
// kernel releases when its holder dies.
type Book struct {
	dir    string
	subnet network.Subnet
}

// New returns the book in dir, giving out addresses of subnet. The first Take
// makes the directory; until then nothing is taken.
func New(dir string, subnet netip.Prefix) (*Book, error) {
	if network.Subnet(subnet).Capacity() == 0 {
		return nil, fmt.Errorf("subnet %s has no room for a worker: want an IPv4 subnet of /30 or larger", subnet)
	}
	return &Book{dir: dir, subnet: network.Subnet(subnet.Masked())}, nil
}

// Take gives the owner the next free address after the one given last, so
// that an address just given back rests before somebody else is found there.
// An owner that finds its address unusable takes again: it holds both then, so
// that nobody else is given the first.
func (b *Book) Take(ctx context.Context, owner string) (netip.Addr, error) {
	if owner == "" {
		return netip.Addr{}, errors.New("taking an address: owner is empty")
	}
	if err := ctx.Err(); err != nil { // a lock that is free does not look at it
		return netip.Addr{}, fmt.Errorf("taking an address of %s: %w", netip.Prefix(b.subnet), err)
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return netip.Addr{}, fmt.Errorf("making the address directory: %w", err)
	}
	lock, err := filelock.Acquire(ctx, b.lockFile())
	if err != nil {
		return netip.Addr{}, err
	}
	defer lock.Release()

	addr := b.last()
	for range b.subnet.Capacity() {
		addr = b.subnet.After(addr)
		taken, err := b.claim(addr, owner)
		if err != nil {
			return netip.Addr{}, err
		}
		if taken {
			return addr, b.remember(addr)
		}
	}
	return netip.Addr{}, fmt.Errorf("taking an address of %s: %w", netip.Prefix(b.subnet), errFull)
}

// Give gives back those of the held addresses, as Held returns them, that are
// still the owner's. It is idempotent.
func (b *Book) Give(owner string, held []netip.Addr) error {
	if len(held) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	lock, err := filelock.Acquire(ctx, b.lockFile())
	if err != nil {
		return err
	}
	defer lock.Release()

	var errs []error
	for _, addr := range held {
		now, err := b.owner(addr)
		if err == nil && now == owner {
			err = os.Remove(b.path(addr))
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("giving back the addresses of %s: %w", owner, err)
	}
	return nil
}

// Held returns the addresses that the owner has, in order, of every subnet in the
// directory: a pool whose subnet was changed still finds what it had before.
func (b *Book) Held(owner string) ([]netip.Addr, error) {
	owners, err := b.Owners()
	if err != nil {
		return nil, err
	}
	var held []netip.Addr
	for addr, o := range owners {
		if o == owner {
			held = append(held, addr)
		}
	}
	slices.SortFunc(held, netip.Addr.Compare)
	return held, nil
}

// Owners returns who has which address, of every subnet in the directory. It
// takes no lock, so that nobody waits while it reads a file for each of them:
// what is taken or given back meanwhile may be in it or not.
func (b *Book) Owners() (map[netip.Addr]string, error) {
	entries, err := os.ReadDir(b.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing taken addresses: %w", err)
	}
	owners := make(map[netip.Addr]string)
	for _, entry := range entries {
		addr, err := netip.ParseAddr(entry.Name())
		if err != nil {
			continue // the lock, or a memory of the last address
		}
		owner, err := b.owner(addr)
		if err != nil {
			return nil, err
		}
		if owner != "" {
			owners[addr] = owner
		}
	}
	return owners, nil
}

// owner returns who has the address, and nobody when it is free.
func (b *Book) owner(addr netip.Addr) (string, error) {
	text, err := os.ReadFile(b.path(addr))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading who has %s: %w", addr, err)
	}
	return string(text), nil
}

// claim writes the owner's name to the address's file unless somebody has it.
// An empty file is what a crash between making and writing it leaves, and
// means a free address. Nothing is synced: a power cut ends the leases too.
func (b *Book) claim(addr netip.Addr, owner string) (bool, error) {
	f, err := os.OpenFile(b.path(addr), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return false, fmt.Errorf("taking %s: %w", addr, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("taking %s: %w", addr, err)
	}
	if info.Size() > 0 {
		return false, nil
	}
	if _, err := f.WriteString(owner); err != nil {
		return false, fmt.Errorf("taking %s for %s: %w", addr, owner, errors.Join(err, os.Remove(f.Name())))
	}
	return true, nil
}

// last returns the address given last, or one outside the subnet when that is
// not known, after which the subnet's first one comes.
func (b *Book) last() netip.Addr {
	text, _ := os.ReadFile(b.memory())
	addr, _ := netip.ParseAddr(string(text))
	return addr
}

func (b *Book) remember(addr netip.Addr) error {
	if err := os.WriteFile(b.memory(), []byte(addr.String()), 0o600); err != nil {
		return fmt.Errorf("noting %s as the address given last: %w", addr, err)
	}
	return nil
}

func (b *Book) lockFile() string { return filepath.Join(b.dir, "lock") }

// memory is the file that names the address of this subnet given last.
func (b *Book) memory() string {
	return filepath.Join(b.dir, "last-"+strings.ReplaceAll(netip.Prefix(b.subnet).String(), "/", "-"))
}

func (b *Book) path(addr netip.Addr) string {
	return filepath.Join(b.dir, addr.String())
}
