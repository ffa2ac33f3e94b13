package source

import (
	"context"
	"fmt"
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
		return "", fmt.Errorf("local image %s is no regular file", from.Location)
	}
	output(fmt.Sprintf("%s, %s", from.Location, megabytes(info.Size())))
	if err := verify(ctx, from.Location, from.SHA256); err != nil {
		return "", fmt.Errorf("local image: %w", err)
	}
	return from.Location, nil
}
