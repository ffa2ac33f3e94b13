//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
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

// write keeps the sections of the document beside those that are kept already,
// and puts their tables where the pages have markers. No page is touched before
// all are known to have theirs.
func write(measured report.Document) error {
	d, err := kept()
	if err != nil {
		return err
	}
	d = d.Updated(measured)
	files := make(map[string]string)
	document, err := d.JSON()
	if err != nil {
		return err
	}
	files[documentFile] = string(document)
	for _, place := range places(d, measured) {
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

// place is where something goes.
type place struct{ file, marker, content string }

// places are those of the sections that were measured now.
func places(d, measured report.Document) []place {
	var all []place
	for section := range measured.Runs {
		all = append(all, place{performanceFile, section, d.Section(section)})
		if section == report.SectionWorkers {
			all = append(all, place{readmeFile, section, d.Section(section)},
				place{performanceFile, "profile", d.ProfileTable()})
		}
	}
	return all
}

// kept is the document of earlier runs; empty when there is none.
func kept() (report.Document, error) {
	text, err := os.ReadFile(documentFile)
	if errors.Is(err, fs.ErrNotExist) {
		return report.Document{}, nil
	}
	if err != nil {
		return report.Document{}, fmt.Errorf("reading what earlier runs have measured: %w", err)
	}
	d, err := report.Parse(text)
	if err != nil {
		return report.Document{}, fmt.Errorf("%s: %w", documentFile, err)
	}
	return d, nil
}
