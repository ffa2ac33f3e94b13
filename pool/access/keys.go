// Package access is the way into a worker: it makes the keys, and finds out
// when they open the door. Giving them to the guest is the backend's business,
// and running jobs is the runner's.
package access

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

// SSH is access by SSH with keys that no other worker has, nor ever had. The
// zero value is ready to use.
type SSH struct{}

var _ pool.Access = SSH{}

// New makes the identity of a worker, and the key that belongs to it.
func (SSH) New(id, user string) (guest.Identity, pool.Key, error) {
	host, err := newKeyPair(id)
	if err != nil {
		return guest.Identity{}, "", fmt.Errorf("making the host key: %w", err)
	}
	client, err := newKeyPair(id)
	if err != nil {
		return guest.Identity{}, "", fmt.Errorf("making the key of user %s: %w", user, err)
	}
	identity := guest.Identity{
		Hostname:      id,
		MachineID:     newMachineID(),
		HostKey:       host.private,
		HostKeyPublic: host.public,
		User:          user,
		AuthorizedKey: client.public,
	}
	return identity, pool.Key(client.private), nil
}

// keyPair is an Ed25519 key: private in OpenSSH's PEM form, public as a line
// of authorized_keys.
type keyPair struct {
	private, public string
}

func newKeyPair(comment string) (keyPair, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return keyPair{}, err
	}
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return keyPair{}, err
	}
	line, err := ssh.NewPublicKey(public)
	if err != nil {
		return keyPair{}, err
	}
	return keyPair{
		private: string(pem.EncodeToMemory(block)),
		public:  strings.TrimSpace(string(ssh.MarshalAuthorizedKey(line))),
	}, nil
}

// newMachineID makes a machine id in the form of machine-id(5).
func newMachineID() string {
	var id [16]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}
