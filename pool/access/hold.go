package access

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

var _ pool.Asker = SSH{}

// HoldFile is the file, in the home directory of the user that jobs log in to, by which a
// job asks for its worker to be held. What is in it is for those who will look.
const HoldFile = "mayfly-hold"

// mostWords is how many bytes of it are read.
const mostWords = 1 << 10

// noHoldFile is the exit code of askForHold where there is no such file.
const noHoldFile = 3

// askForHold is said to whatever shell the user has.
var askForHold = fmt.Sprintf("test -e %s || exit %d; head -c %d %[1]s", HoldFile, noHoldFile, mostWords)

// HoldAsked looks for HoldFile. A login begins in the home directory.
func (s SSH) HoldAsked(
	ctx context.Context, addr netip.AddrPort, identity guest.Identity, key pool.Key,
) (words string, asked bool, err error) {
	var said, complaint lines.Beginning
	exit, err := s.Enter(ctx, addr, identity, key, pool.Session{
		Command: askForHold, Stdin: bytes.NewReader(nil), Stdout: &said, Stderr: &complaint,
	})
	switch {
	case err != nil:
		return "", false, err
	case exit == noHoldFile:
		return "", false, nil
	case exit != 0:
		return "", false, fmt.Errorf("looking for %s in its home: exit code %d: %s", HoldFile, exit,
			lines.Text(complaint.String()))
	}
	text := said.String()
	return text[:min(len(text), mostWords)], true, nil
}
