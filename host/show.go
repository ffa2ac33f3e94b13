package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
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

// maxOrigin bounds in bytes what is read of where an image is from.
const maxOrigin = 1 << 20

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
	text, err := statefile.Read(filepath.Join(golden.Dir, image.OriginFile), maxOrigin)
	if errors.Is(err, fs.ErrNotExist) {
		return facts, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &facts.Origin)
	}
	if err != nil {
		return facts, fmt.Errorf("reading where image %s is from: %w", golden.Digest, err)
	}
	return facts, nil
}
