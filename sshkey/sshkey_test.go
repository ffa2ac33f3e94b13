package sshkey

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

func TestPairBelongsTogether(t *testing.T) {
	one, err := NewPair("p-a")
	require.NoError(t, err)
	other, err := NewPair("p-a")
	require.NoError(t, err)
	require.NotEqual(t, one.Private, other.Private)
	require.NotEqual(t, one.Public, other.Public)

	signer, err := ssh.ParsePrivateKey([]byte(one.Private))
	require.NoError(t, err)
	require.Equal(t, publicKey(t, one), signer.PublicKey())
	require.Equal(t, ssh.KeyAlgoED25519, signer.PublicKey().Type())
	require.NotContains(t, one.Public, "\n")
}

func TestPinAcceptsOneHostKey(t *testing.T) {
	pinned, err := NewPair("pinned")
	require.NoError(t, err)
	stranger, err := NewPair("stranger")
	require.NoError(t, err)
	var config ssh.ClientConfig
	require.NoError(t, Pin(&config, pinned.Public))
	require.Equal(t, []string{ssh.KeyAlgoED25519}, config.HostKeyAlgorithms)
	require.NoError(t, config.HostKeyCallback("host", nil, publicKey(t, pinned)))
	err = config.HostKeyCallback("host", nil, publicKey(t, stranger))
	require.ErrorIs(t, err, ErrHostKey)
	require.ErrorContains(t, err, ssh.FingerprintSHA256(publicKey(t, stranger)))
	require.ErrorContains(t, Pin(&config, "nonsense"), "host key")
}

func publicKey(t *testing.T, pair Pair) ssh.PublicKey {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(pair.Public))
	require.NoError(t, err)
	return key
}
