// Package access is the way into a worker: it makes the keys, and logs in until
// the worker accepts them. Giving them to the guest is the backend's business,
// and running jobs is the runner's.
package access

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/sshkey"
)

// SSH is access by SSH with keys that no other worker has, nor ever had. The
// zero value is ready to use.
type SSH struct {
	// dial is a net.Dialer's but in tests.
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

var _ pool.Access = SSH{}

// New makes the identity of a worker, and the key that belongs to it.
func (SSH) New(id, user string) (guest.Identity, pool.Key, error) {
	host, err := sshkey.NewPair(id)
	if err != nil {
		return guest.Identity{}, "", fmt.Errorf("making the host key: %w", err)
	}
	client, err := sshkey.NewPair(id)
	if err != nil {
		return guest.Identity{}, "", fmt.Errorf("making the key of user %s: %w", user, err)
	}
	var machineID [16]byte // see machine-id(5)
	rand.Read(machineID[:])
	identity := guest.Identity{
		Hostname:      id,
		MachineID:     hex.EncodeToString(machineID[:]),
		HostKey:       host.Private,
		HostKeyPublic: host.Public,
		User:          user,
		AuthorizedKey: client.Public,
	}
	return identity, pool.Key(client.Private), nil
}
