// Package source fetches the file of a cloud image that a recipe names: by
// https, or from a path of this host. Root file systems made from packages are
// in debootstrap/. What becomes of either, a disk and a golden image, is made
// elsewhere.
package source

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Local takes a cloud image from a path of this host. The zero value works.
type Local struct{}

// Fetch returns the path itself, after it has been read: an image that cannot
// be used is found here and not in the middle of a build.
func (Local) Fetch(ctx context.Context, from image.Source, output func(line string)) (string, error) {
	file, err := os.Open(from.Location)
	if err != nil {
		return "", fmt.Errorf("local image: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", fmt.Errorf("local image: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("local image %s is not a regular file", from.Location)
	}
	output(fmt.Sprintf("%s, %s", from.Location, megabytes(info.Size())))
	if err := verify(ctx, from.Location, from); err != nil {
		return "", fmt.Errorf("local image: %w", err)
	}
	return from.Location, nil
}

// digest is what a file is known by.
type digest struct {
	// algorithm is in the names of downloads, and word in messages.
	algorithm, word string
	hash            func() hash.Hash
	// want is in lower-case hexadecimal.
	want string
}

// digestOf is the digest that a source names; false when it names none.
func digestOf(from image.Source) (digest, bool) {
	if from.SHA512 != "" {
		return digest{"sha512", "SHA-512", sha512.New, from.SHA512}, true
	}
	return digest{"sha256", "SHA-256", sha256.New, from.SHA256}, from.SHA256 != ""
}

// verify compares the digest of all bytes at path with that of the source; without
// one everything is right.
func verify(ctx context.Context, path string, from image.Source) error {
	wanted, known := digestOf(from)
	if !known {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	defer context.AfterFunc(ctx, func() { _ = file.Close() })()
	sum := wanted.hash()
	if _, err := io.Copy(sum, file); err != nil {
		return fmt.Errorf("digesting %s: %w", path, cmp.Or(ctx.Err(), err))
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != wanted.want {
		return fmt.Errorf("%s has %s %s, and should have %s", path, wanted.word, got, wanted.want)
	}
	return nil
}
