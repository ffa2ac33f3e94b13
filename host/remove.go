package host

import (
	"fmt"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// RemoveImage removes a golden image, unless anybody uses it; the error says who.
func (h *Host) RemoveImage(c config.Config, golden image.Golden) error {
	unused, err := h.unused(c, func(g image.Golden, _ time.Time) bool { return g.Digest == golden.Digest })
	if err != nil {
		return err
	}
	removed := false
	for _, one := range unused {
		if removed, err = one.Remove(); err != nil {
			return err
		}
	}
	if removed {
		return nil
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
	all, err := h.unused(c, nil)
	if err != nil {
		return nil, err
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

func (h *Host) unused(
	c config.Config, which func(image.Golden, time.Time) bool,
) ([]diskspace.Leftover, error) {
	if h.UnusedImages == nil {
		return nil, nil
	}
	found, err := h.UnusedImages(c, which)
	if err != nil {
		return nil, fmt.Errorf("looking for images that nobody uses: %w", err)
	}
	return found, nil
}
