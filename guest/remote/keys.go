package remote

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Keys are how this host gets into the machines of one golden image, until
// they have an identity of their own, and how it knows them. They are secret.
type Keys struct {
	User string `json:"user"`
	// Key is the private key of User, HostKey the public host key.
	Key     string `json:"key"`
	HostKey string `json:"host_key"`
}

// Login is the login with these keys.
func (k Keys) Login() Login { return Login{User: k.User, Key: k.Key, HostKey: k.HostKey} }

// pair is an Ed25519 key: private in OpenSSH's PEM form, public as a line of
// authorized_keys.
type pair struct{ private, public string }

func newPair(comment string) (pair, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("making a key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return pair{}, fmt.Errorf("making a key: %w", err)
	}
	line, err := ssh.NewPublicKey(public)
	if err != nil {
		return pair{}, fmt.Errorf("making a key: %w", err)
	}
	return pair{
		private: string(pem.EncodeToMemory(block)),
		public:  strings.TrimSpace(string(ssh.MarshalAuthorizedKey(line))),
	}, nil
}

// NewKey makes a key for a guest's first login: private in PEM form, public as
// a line of authorized_keys.
func NewKey(comment string) (private, public string, err error) {
	made, err := newPair(comment)
	return made.private, made.public, err
}
