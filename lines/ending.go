package lines

// mostOfEnding is how many bytes an Ending keeps.
const mostOfEnding = 8 << 10

// Ending keeps the last 8 KiB that are written to it: what a program says that fails
// comes last. The zero value is empty.
type Ending struct{ kept []byte }

// Write never fails.
func (e *Ending) Write(p []byte) (int, error) {
	e.kept = append(e.kept, p[max(0, len(p)-mostOfEnding):]...)
	e.kept = e.kept[max(0, len(e.kept)-mostOfEnding):]
	return len(p), nil
}

// String is what was kept.
func (e *Ending) String() string { return string(e.kept) }
