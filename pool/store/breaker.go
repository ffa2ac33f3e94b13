package store

import (
	"fmt"
	"path/filepath"
	"time"
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
	if err := removeDocument(filepath.Join(s.dir, BreakerFile)); err != nil {
		return fmt.Errorf("removing that an image is spared: %w", err)
	}
	return nil
}

// Breaker is false when the pool spares no image.
func (s *Store) Breaker() (b Breaker, open bool, err error) {
	if open, err = readDocument(filepath.Join(s.dir, BreakerFile), &b, &b.Version); err != nil {
		return Breaker{}, false, fmt.Errorf("reading which image is spared: %w", err)
	}
	return b, open, nil
}
