package store

import (
	"fmt"
	"path/filepath"
	"time"
)

// ServedFile is in the directory of a pool whose golden image is renewed.
const ServedFile = "served.json"

// Served says which golden image such a pool makes its workers from, also after a
// restart: one that was not tried yet does not take its place.
type Served struct {
	Version     int    `json:"version"`
	ImageDigest string `json:"image_digest"`
	// Edition is the image's; see image.Recipe.
	Edition string    `json:"edition"`
	Since   time.Time `json:"since"`
	// Failed says why a newer one is not served, if one was to be.
	Failed *FailedRenewal `json:"failed_renewal,omitempty"`
}

// FailedRenewal says why an image could not be renewed.
type FailedRenewal struct {
	// Edition is that of the image that was to be.
	Edition  string    `json:"edition"`
	Failures int       `json:"failures"` // in a row
	Reason   string    `json:"reason"`   // of the last one
	At       time.Time `json:"at"`
	NextTry  time.Time `json:"next_try"`
}

// String is the failure as a line for people.
func (f FailedRenewal) String() string {
	times := "once"
	if f.Failures > 1 {
		times = fmt.Sprintf("%d times in a row", f.Failures)
	}
	return fmt.Sprintf("it is served on, since making its edition of %s failed %s: %s; next try at %s",
		f.Edition, times, f.Reason, f.NextTry.Format(time.TimeOnly))
}

// SaveServed keeps it for the next process, and for those who look from outside.
func (s *Store) SaveServed(served Served) error {
	served.Version = RecordVersion
	if err := writeDocument(filepath.Join(s.dir, ServedFile), served); err != nil {
		return fmt.Errorf("writing that image %s is served: %w", served.ImageDigest, err)
	}
	return nil
}

// ClearServed is for a pool whose image is not renewed. It is idempotent.
func (s *Store) ClearServed() error {
	if err := removeDocument(filepath.Join(s.dir, ServedFile)); err != nil {
		return fmt.Errorf("removing which image is served: %w", err)
	}
	return nil
}

// Served is false when nothing is known: the pool's image is not renewed, or none was
// there yet.
func (s *Store) Served() (served Served, known bool, err error) {
	if known, err = readDocument(filepath.Join(s.dir, ServedFile), &served, &served.Version); err != nil {
		return Served{}, false, fmt.Errorf("reading which image is served: %w", err)
	}
	return served, known, nil
}
