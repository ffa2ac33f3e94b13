// Package sshkey makes SSH key pairs, and pins the host key of a server. Who
// gets a key, and where it is kept, is the business of its users.
package sshkey

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"
)

// ErrHostKey says that a server has another host key than the pinned one: it is
// another machine.
var ErrHostKey = errors.New("wrong host key")

// Pair is an Ed25519 key pair.
type Pair struct {
	Private string // in OpenSSH's PEM form
	Public  string // as a line of authorized_keys, without the newline
}

// NewPair makes a key pair. The comment is part of the private key's file.
func NewPair(comment string) (Pair, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("making an SSH key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return Pair{}, fmt.Errorf("encoding an SSH key: %w", err)
	}
	line, err := ssh.NewPublicKey(public)
	if err != nil {
		return Pair{}, fmt.Errorf("encoding an SSH key: %w", err)
	}
	return Pair{
		Private: string(pem.EncodeToMemory(block)),
		Public:  strings.TrimSpace(string(ssh.MarshalAuthorizedKey(line))),
	}, nil
}

// Pin has a client accept one host key, given as a line of authorized_keys, and
// refuse every other with ErrHostKey.
func Pin(config *ssh.ClientConfig, hostKey string) error {
	host, _, _, _, err := ssh.ParseAuthorizedKey([]byte(hostKey))
	if err != nil {
		return fmt.Errorf("reading a host key: %w", err)
	}
	fixed := ssh.FixedHostKey(host)
	config.HostKeyAlgorithms = []string{host.Type()}
	config.HostKeyCallback = func(name string, remote net.Addr, key ssh.PublicKey) error {
		if err := fixed(name, remote, key); err != nil {
			return fmt.Errorf("%w: it has %s, not %s", ErrHostKey,
				ssh.FingerprintSHA256(key), ssh.FingerprintSHA256(host))
		}
		return nil
	}
	return nil
}
