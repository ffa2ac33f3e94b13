package host

import (
	"fmt"
	"os"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// ImageFacts are what is known of a golden image beside its manifest.
type ImageFacts struct {
	// Unique are the bytes on the disk that nothing else has: what its removal frees.
	Unique int64
	// LastUse is when anybody held it last.
	LastUse time.Time
	// Users are the workers and templates that were made from it.
	Users []string
	// Origin is empty for one that was built here and never pushed.
	Origin image.Origin
}

// LookAtImage returns what is known of a golden image.
func (h *Host) LookAtImage(c config.Config, golden image.Golden) (facts ImageFacts, err error) {
	if facts.Unique, err = diskspace.Unique(golden.Dir); err != nil {
		return facts, fmt.Errorf("measuring image %s: %w", golden.Digest, err)
	}
	info, err := os.Stat(golden.Dir)
	if err != nil {
		return facts, fmt.Errorf("looking at image %s: %w", golden.Digest, err)
	}
	facts.LastUse = info.ModTime()
	users, err := h.ImageUsers(c)
	if err != nil {
		return facts, fmt.Errorf("looking for users of image %s: %w", golden.Digest, err)
	}
	facts.Users = users[golden.Digest]
	facts.Origin, err = golden.Origin()
	return facts, err
}
