package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// segment is one file of a ledger. Their numbers rise; events are in the last one.
type segment struct {
	number   int
	size     int64
	modified time.Time
}

var segmentName = regexp.MustCompile(`^([0-9]{8})\.jsonl$`)

func segmentPath(dir string, number int) string {
	return filepath.Join(dir, fmt.Sprintf("%08d.jsonl", number))
}

// segments lists the files of a ledger, the oldest first. What has another name is none
// of the ledger's, and where there is no directory there are none.
func segments(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []segment
	for _, entry := range entries {
		named := segmentName.FindStringSubmatch(entry.Name())
		if named == nil || !entry.Type().IsRegular() {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) { // it was removed meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		number, _ := strconv.Atoi(named[1]) // always fits
		all = append(all, segment{number, info.Size(), info.ModTime()})
	}
	return all, nil
}
