package store

import (
	"io"
	"os"
	"path/filepath"
	"sync"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

const (
	// LogFile, below the pool's directory, is what the processes that served the pool have
	// logged, one JSON object a line.
	LogFile = "plugin.log"
	// FormerLogFile is what was in LogFile when that had reached its bound.
	FormerLogFile = "plugin.log.1"
	// mostLog is how many bytes each of the two may have.
	mostLog = 4 << 20
)

// Log appends to the pool's log. It opens the file with the first line, since there is no
// directory before, and drops what cannot be written: a log must not fail what it is about.
// A process that waits for the pool writes beside the one that leaves it: each writes whole
// lines.
func (s *Store) Log() io.Writer { return &log{dir: s.dir} }

type log struct {
	dir string

	mu   sync.Mutex
	file *os.File
	size int64
}

// Write takes one line, and never fails.
func (l *log) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil && l.size+int64(len(line)) > mostLog {
		_ = l.file.Close()
		l.file = nil
		_ = os.Rename(filepath.Join(l.dir, LogFile), filepath.Join(l.dir, FormerLogFile))
	}
	if l.file == nil && !l.open() {
		return len(line), nil
	}
	n, _ := l.file.Write(line)
	l.size += int64(n)
	return len(line), nil
}

func (l *log) open() bool {
	file, err := statefile.Open(filepath.Join(l.dir, LogFile), os.O_APPEND|os.O_WRONLY|os.O_CREATE)
	if err != nil {
		return false
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return false
	}
	l.file, l.size = file, info.Size()
	return true
}

// OpenLog opens the present log, and OpenFormerLog the one before it. The error wraps
// fs.ErrNotExist where there is none.
func (s *Store) OpenLog() (*os.File, error) {
	return statefile.Open(filepath.Join(s.dir, LogFile), os.O_RDONLY)
}

// OpenFormerLog is OpenLog for what was logged before.
func (s *Store) OpenFormerLog() (*os.File, error) {
	return statefile.Open(filepath.Join(s.dir, FormerLogFile), os.O_RDONLY)
}
