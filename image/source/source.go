// Package source fetches the file of a cloud image that a recipe names: by
// https, or from a path of this host. Root file systems made from packages are
// in debootstrap/. What becomes of either, a disk and a golden image, is made
// elsewhere.
package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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
	if err := verify(ctx, from.Location, from.SHA256); err != nil {
		return "", fmt.Errorf("local image: %w", err)
	}
	return from.Location, nil
}

// verify compares the digest of all bytes at path with the wanted one; an
// empty one matches everything.
func verify(ctx context.Context, path, want string) error {
	if want == "" {
		return nil
	}
	got, err := digest(ctx, path)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%s has SHA-256 %s, but the recipe says %s", path, got, want)
	}
	return nil
}

func digest(ctx context.Context, path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, cancellable{ctx, file}); err != nil {
		return "", fmt.Errorf("digesting %s: %w", path, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// cancellable is a reader that ends with its context.
type cancellable struct {
	ctx context.Context
	io.Reader
}

func (c cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}
