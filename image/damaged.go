package image

import "fmt"

// Damaged is the error of a golden image that cannot be used, and that nobody
// but a user may remove.
type Damaged struct {
	// Dir is the directory that holds the image.
	Dir    string
	Reason error
}

// Error says how to mend it, too.
func (d Damaged) Error() string {
	return fmt.Sprintf("golden image %s: %v; remove that directory to have it built again", d.Dir, d.Reason)
}

func (d Damaged) Unwrap() error { return d.Reason }
