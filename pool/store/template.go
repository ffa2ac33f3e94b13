package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// TemplateTimeFile holds how long making a template took last, below the pool's
// directory. It is beside the templates, which go when their image does.
const TemplateTimeFile = "template-time.json"

// templateTime is what is in the file.
type templateTime struct {
	Seconds float64 `json:"seconds"`
}

// longestTemplateTime is far more than any template may take; what a file says beyond
// it is not believed.
const longestTemplateTime = 24 * time.Hour

// SaveTemplateTime replaces what is remembered. A crash leaves the old or the new, never
// half of either.
func (s *Store) SaveTemplateTime(took time.Duration) error {
	if err := writeDocument(filepath.Join(s.dir, TemplateTimeFile), templateTime{took.Seconds()}); err != nil {
		return fmt.Errorf("remembering how long the template took: %w", err)
	}
	return nil
}

// LoadTemplateTime reads what is remembered. The error wraps fs.ErrNotExist when that is
// nothing.
func (s *Store) LoadTemplateTime() (time.Duration, error) {
	text, err := statefile.Read(filepath.Join(s.dir, TemplateTimeFile), maxRecord)
	var took templateTime
	if err == nil {
		err = json.Unmarshal(text, &took)
	}
	if err == nil && (took.Seconds <= 0 || took.Seconds > longestTemplateTime.Seconds()) {
		err = errors.New("it says that a template took no time, or more than a day")
	}
	if err != nil {
		return 0, fmt.Errorf("reading how long the template took: %w", err)
	}
	return time.Duration(took.Seconds * float64(time.Second)), nil
}
