package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// OriginFile is the file of an image that was pulled from a registry or pushed to one,
// with its Origin.
const OriginFile = "origin.json"

// maxOrigin bounds in bytes what is read of it.
const maxOrigin = 1 << 20

// Origin says which artifact of a registry an image is.
type Origin struct {
	// Artifact is the digest of its manifest.
	Artifact string `json:"artifact"`
	// References are those that meant it, and when they were last asked for.
	References map[string]time.Time `json:"references"`
	// Signer is the SHA-256 of the public key that verified it, if one did.
	Signer string `json:"signer,omitempty"`
}

// Origin is empty for an image that was built here and never pushed.
func (g Golden) Origin() (origin Origin, err error) {
	text, err := statefile.Read(filepath.Join(g.Dir, OriginFile), maxOrigin)
	if errors.Is(err, fs.ErrNotExist) {
		return Origin{}, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &origin)
	}
	if err != nil {
		return Origin{}, fmt.Errorf("reading where image %s is from: %w", g.Digest, err)
	}
	return origin, nil
}
