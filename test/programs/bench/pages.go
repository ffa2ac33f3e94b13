//go:build linux

package main

import (
	"fmt"
	"os"

	"github.com/google/renameio/v2"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

// Where the results go, from the root of the repository.
const (
	documentFile    = "docs/bench.json"
	readmeFile      = "README.md"
	performanceFile = "docs/performance.md"
)

// write keeps the document, and puts its tables where the pages have markers.
// No page is touched before all are known to have theirs.
func write(d report.Document) error {
	files := make(map[string]string)
	document, err := d.JSON()
	if err != nil {
		return err
	}
	files[documentFile] = string(document)
	for _, place := range []struct{ file, marker, content string }{
		{readmeFile, "workers", d.Circumstances() + "\n" + d.WorkersTable()},
		{performanceFile, "workers", d.Circumstances() + "\n" + d.WorkersTable()},
		{performanceFile, "profile", d.ProfileTable()},
		{performanceFile, "parts", d.PartsTable()},
	} {
		page, known := files[place.file]
		if !known {
			text, err := os.ReadFile(place.file)
			if err != nil {
				return fmt.Errorf("reading a page for its tables: %w", err)
			}
			page = string(text)
		}
		if files[place.file], err = report.Place(page, place.marker, place.content); err != nil {
			return fmt.Errorf("%s: %w", place.file, err)
		}
	}
	for name, content := range files {
		if err := renameio.WriteFile(name, []byte(content), 0o644); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return nil
}
