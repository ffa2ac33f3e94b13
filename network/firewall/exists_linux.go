package firewall

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Exists tells whether the calling thread's network namespace has the table. It
// asks for that one alone: a list could be spoilt by others who change theirs
// meanwhile.
func Exists(name string) (bool, error) {
	conn, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("opening nftables: %w", err)
	}
	_, err = conn.ListTableOfFamily(name, nftables.TableFamilyINet)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("looking for nftables table inet %s: %w", name, err)
	}
	return true, nil
}
