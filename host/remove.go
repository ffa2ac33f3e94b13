package host

import (
	"fmt"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// RemoveImage removes a golden image, unless anybody uses it; the error says who.
func (h *Host) RemoveImage(c config.Config, golden image.Golden) error {
	used := func() (map[string]bool, error) { return h.UsedImages(c) }
	removed, err := h.Images(c.ImagesDir()).Remove(golden.Digest, used)
	if err != nil || removed {
		return err
	}
	users, err := h.usersOf(c, golden)
	if err != nil {
		return err
	}
	return fmt.Errorf("golden image %s is used by %s: it stays", golden.Digest, users)
}

// usersOf says who keeps an image from being removed.
func (h *Host) usersOf(c config.Config, golden image.Golden) (string, error) {
	users, err := h.ImageUsers(c)
	if err != nil {
		return "", err
	}
	if len(users[golden.Digest]) == 0 {
		return "a process that serves its pool, or by the tool that keeps its machine", nil
	}
	return strings.Join(users[golden.Digest], ", "), nil
}

// PruneImages removes the golden images that nobody uses, or lists them.
func (h *Host) PruneImages(c config.Config, dryRun bool) (gone []diskspace.Leftover, err error) {
	if h.UnusedImages == nil {
		return nil, nil
	}
	all, err := h.UnusedImages(c, nil)
	if err != nil {
		return nil, fmt.Errorf("looking for images that nobody uses: %w", err)
	}
	for _, one := range all {
		removed := dryRun
		if !dryRun {
			if removed, err = one.Remove(); err != nil {
				return gone, err
			}
		}
		if removed {
			gone = append(gone, one)
		}
	}
	return gone, nil
}
