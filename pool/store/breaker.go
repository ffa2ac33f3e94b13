package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// BreakerFile is in the pool's directory while the pool spares an image of which
// every worker has failed.
const BreakerFile = "breaker.json"

// Breaker says why a pool starts one worker at a time, and no more often than now
// and then.
type Breaker struct {
	Version     int       `json:"version"`
	ImageDigest string    `json:"image_digest"`
	Failures    int       `json:"failures"` // in a row, since the image was loaded
	Reason      string    `json:"reason"`   // of the last one
	Since       time.Time `json:"since"`
	NextTry     time.Time `json:"next_try"`
}

// String is the breaker as a line for people.
func (b Breaker) String() string {
	return fmt.Sprintf("image %s: all of the last %d workers failed, and none has been ready: %s; next try at %s",
		b.ImageDigest, b.Failures, b.Reason, b.NextTry.Format(time.TimeOnly))
}

// SaveBreaker keeps it for those who look from outside.
func (s *Store) SaveBreaker(b Breaker) error {
	b.Version = RecordVersion
	if err := writeDocument(filepath.Join(s.dir, BreakerFile), b); err != nil {
		return fmt.Errorf("writing that image %s is spared: %w", b.ImageDigest, err)
	}
	return nil
}

// ClearBreaker is for when nothing is spared any more. It is idempotent.
func (s *Store) ClearBreaker() error {
	err := os.Remove(filepath.Join(s.dir, BreakerFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing that an image is spared: %w", err)
	}
	return nil
}

// Breaker is false when the pool spares no image.
func (s *Store) Breaker() (Breaker, bool, error) {
	text, err := statefile.Read(filepath.Join(s.dir, BreakerFile), maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return Breaker{}, false, nil
	}
	var b Breaker
	if err == nil {
		err = json.Unmarshal(text, &b)
	}
	if err == nil && b.Version != RecordVersion {
		err = fmt.Errorf("version is %d, not %d", b.Version, RecordVersion)
	}
	if err != nil {
		return Breaker{}, false, fmt.Errorf("reading which image is spared: %w", err)
	}
	return b, true, nil
}
