package signature

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/registry"
)

func TestTextIsSigned(t *testing.T) {
	private, public := registry.Keys(t)
	key, err := ReadPrivateKey(private)
	require.NoError(t, err)
	shown, err := ReadPublicKey(public)
	require.NoError(t, err)
	made, err := Sign(key, []byte("text"))
	require.NoError(t, err)
	require.True(t, Verify(shown, []byte("text"), made))
	require.False(t, Verify(shown, []byte("texts"), made))
	require.False(t, Verify(shown, []byte("text"), "no base64"))
	_, others := registry.Keys(t)
	other, err := ReadPublicKey(others)
	require.NoError(t, err)
	require.False(t, Verify(other, []byte("text"), made))
}

func TestKeysThatAreNoneAreRefused(t *testing.T) {
	private, public := registry.Keys(t)
	_, err := ReadPublicKey(private)
	require.ErrorContains(t, err, "no public ECDSA key")
	_, err = ReadPrivateKey(public)
	require.ErrorContains(t, err, "no private ECDSA key")
	path := filepath.Join(t.TempDir(), "key")
	for text, want := range map[string]string{
		"": "has none in PEM",
		"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n" +
			"-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n": "is encrypted",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err = ReadPrivateKey(path)
		require.ErrorContains(t, err, want)
	}
}
