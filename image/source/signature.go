package source

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// maxKeyring is how many bytes a file of keys may have.
const maxKeyring = 4 << 20

// readKeyring reads public keys, armoured or not.
func readKeyring(path string) (openpgp.EntityList, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeyring {
		return nil, fmt.Errorf("%s is not a file of keys", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	keys, err := openpgp.ReadKeyRing(bytes.NewReader(text))
	if err != nil {
		keys, err = openpgp.ReadArmoredKeyRing(bytes.NewReader(text))
	}
	if err != nil || len(keys) == 0 {
		return nil, errors.Join(fmt.Errorf("%s holds no public keys of OpenPGP", path), err)
	}
	return keys, nil
}

// verifySignature returns the text that one of the keys has signed, and who did. The signature
// stands around the text, or alone.
func verifySignature(keys openpgp.EntityList, text, signature []byte) (signed []byte, signer string, err error) {
	config := &packet.Config{}
	var entity *openpgp.Entity
	block, _ := clearsign.Decode(text)
	if block != nil {
		signed = block.Plaintext
		entity, err = block.VerifySignature(keys, config)
	} else {
		check := openpgp.CheckDetachedSignature
		if bytes.HasPrefix(bytes.TrimSpace(signature), []byte("-----BEGIN")) {
			check = openpgp.CheckArmoredDetachedSignature
		}
		signed = text
		entity, err = check(keys, bytes.NewReader(text), bytes.NewReader(signature), config)
	}
	if err != nil {
		return nil, "", err
	}
	return signed, fmt.Sprintf("%X", entity.PrimaryKey.Fingerprint), nil
}
