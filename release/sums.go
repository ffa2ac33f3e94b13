package main

import (
	"fmt"
	"os"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/signature"
)

// sumsFile has the checksum of every other file, as sha256sum has it, and signatureFile
// its signature, as `cosign sign-blob` has it.
const (
	sumsFile      = "SHA256SUMS"
	signatureFile = sumsFile + ".sig"
)

func (r release) sum() error {
	names, err := r.files()
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, name := range names {
		sum, err := sha256Of(r.path(name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%s  %s\n", sum, name)
	}
	return os.WriteFile(r.path(sumsFile), []byte(lines.String()), 0o644)
}

// sign signs the checksums, and by that all that they are of.
func (r release) sign() error {
	if r.key == "" {
		return nil
	}
	key, err := signature.ReadPrivateKey(r.key)
	if err != nil {
		return fmt.Errorf("-key: %w", err)
	}
	text, err := os.ReadFile(r.path(sumsFile))
	if err != nil {
		return err
	}
	signed, err := signature.Sign(key, text)
	if err != nil {
		return err
	}
	return os.WriteFile(r.path(signatureFile), []byte(signed+"\n"), 0o644)
}
