// Package signature signs bytes and verifies what others signed, as cosign does with a
// key and no service: ECDSA on P-256 over SHA-256, keys in PEM. It knows no artifact:
// what is signed, and where the signature is kept, is the caller's matter.
package signature

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
)

// maxKey bounds the file of a key.
const maxKey = 64 << 10

// Sign returns the signature of a text, in base64, as cosign writes it.
func Sign(key *ecdsa.PrivateKey, text []byte) (string, error) {
	sum := sha256.Sum256(text)
	made, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return base64.StdEncoding.EncodeToString(made), nil
}

// Verify says whether a signature is one of this text by this key.
func Verify(key *ecdsa.PublicKey, text []byte, signature string) bool {
	made, err := base64.StdEncoding.DecodeString(signature)
	sum := sha256.Sum256(text)
	return err == nil && ecdsa.VerifyASN1(key, sum[:], made)
}

// ReadPublicKey reads what cosign calls cosign.pub: an ECDSA key on P-256, as PEM.
func ReadPublicKey(path string) (*ecdsa.PublicKey, error) {
	block, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	key, is := parsed.(*ecdsa.PublicKey)
	if err != nil || block.Type != "PUBLIC KEY" || !is || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s is no public ECDSA key on P-256: "+
			"give cosign.pub, or what `openssl ec -pubout` writes", path)
	}
	return key, nil
}

// ReadPrivateKey reads an ECDSA key on P-256, as PEM, in the form of PKCS #8 or SEC 1.
func ReadPrivateKey(path string) (*ecdsa.PrivateKey, error) {
	block, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(block.Type, "ENCRYPTED ") {
		return nil, fmt.Errorf("%s is encrypted: give a key without a password, such as "+
			"`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes", path)
	}
	var parsed any
	if block.Type == "EC PRIVATE KEY" {
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	} else {
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	key, is := parsed.(*ecdsa.PrivateKey)
	if err != nil || !is || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s is no private ECDSA key on P-256: make one with "+
			"`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`", path)
	}
	return key, nil
}

func readPEM(path string) (*pem.Block, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxKey {
		return nil, fmt.Errorf("reading a key: %s is not the file of one", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, fmt.Errorf("reading a key: %s has none in PEM", path)
		}
		if block.Type != "EC PARAMETERS" { // which openssl may put before a key
			return block, nil
		}
		text = rest
	}
}

// Fingerprint names a public key.
func Fingerprint(key *ecdsa.PublicKey) string {
	encoded, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}
