package synthetic

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// serverConfig has the host key of an identity, and lets in its user with its
// authorized key and nobody else.
func serverConfig(identity guest.Identity) (*ssh.ServerConfig, error) {
	host, err := ssh.ParsePrivateKey([]byte(identity.HostKey))
	if err != nil {
		return nil, fmt.Errorf("reading its host key: %w", err)
	}
	authorized, _, _, _, err := ssh.ParseAuthorizedKey([]byte(identity.AuthorizedKey))
	if err != nil {
		return nil, fmt.Errorf("reading its authorized key: %w", err)
	}
	if identity.User == "" {
		return nil, errors.New("its identity has no user")
	}
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if conn.User() != identity.User || !bytes.Equal(key.Marshal(), authorized.Marshal()) {
				return nil, fmt.Errorf("%s may not log in with this key", conn.User())
			}
			return &ssh.Permissions{}, nil
		},
	}
	config.AddHostKey(host)
	return config, nil
}
