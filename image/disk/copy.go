//go:build linux

package disk

import (
	"context"
	"errors"
	"fmt"
)

// Copy makes the new file dst a copy of src that does not need it: by reflink where
// the file system can, else with holes where src has holes or zeros.
func Copy(ctx context.Context, src, dst string) error {
	err := reflink(src, dst)
	if errors.Is(err, errNoReflink) {
		return SparseCopy(ctx, src, dst)
	}
	if err != nil {
		return fmt.Errorf("copying %s to %s: %w", src, dst, err)
	}
	return nil
}

// CopyTree makes the new directory dst a copy of the tree src with all that files have:
// owners, modes, times, links, attributes. Their blocks are shared where the file
// system can. No link in it is followed.
func CopyTree(ctx context.Context, src, dst string) error {
	if _, err := run(ctx, "cp", "--archive", "--reflink=auto", "--no-target-directory", "--", src, dst); err != nil {
		return fmt.Errorf("copying %s to %s: %w", src, dst, err)
	}
	return nil
}
