// Package report is what a benchmark run says: the document that it keeps,
// what follows from it (medians, ratios), its tables, and their place between
// markers in a page. It measures nothing and touches no file.
package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// Version is the version of Document that this program writes.
const Version = 2

// Sections of a document, by the names of their places in pages. Each can be
// measured alone.
const (
	// SectionWorkers is how long workers take and what they take, SectionParts
	// what they are made of.
	SectionWorkers = "workers"
	SectionParts   = "parts"
	// SectionStart is the first workers of a plugin that has no template yet.
	SectionStart = "start"
	// SectionWarm is what needs a service inside the worker.
	SectionWarm = "warm"
	// SectionDevices is disk and network inside a worker.
	SectionDevices = "devices"
	// SectionDensity is how many idle workers fit into memory.
	SectionDensity = "density"
	// SectionNspawn is containers beside forks.
	SectionNspawn = "nspawn"
)

// Sections are all of them, in the order in which they are measured.
var Sections = []string{
	SectionWorkers, SectionParts, SectionStart, SectionWarm, SectionDevices, SectionDensity, SectionNspawn,
}

// Ways of making a worker, in the order of the tables.
const (
	Old   = "old way"
	Clone = "clone"
	Fork  = "fork"
	// Stocked is a fork of which all was made ahead that needs no identity.
	Stocked = "fork in stock"
	// ClonesAtOnce are clones that boot while a template is made, TemplateFirst
	// workers of a plugin that makes its template first.
	ClonesAtOnce  = "clones at once"
	TemplateFirst = "template first"
	// WarmFork is a fork of a template in which services run.
	WarmFork = "warm fork"
	Nspawn   = "nspawn"
)

// Document is what was measured last of each section. It names no host and no
// path.
type Document struct {
	Version int `json:"version"`
	// Runs say when and on what each section was measured. One that was not has
	// none. No ratio compares two runs.
	Runs map[string]Run `json:"runs"`
	// Rounds is how often each measurement of workers was made, by how many
	// were started at once.
	Rounds  map[int]int `json:"rounds"`
	Workers []Workers   `json:"workers"`
	Ratios  []Ratios    `json:"ratios"`
	Profile []Phase     `json:"fork_profile"`
	// Lease is of a host without others, CrowdedLease of one with many.
	Lease        Lease    `json:"lease"`
	CrowdedLease Lease    `json:"crowded_lease"`
	Disks        []Disk   `json:"disks"`
	Pool         []Timing `json:"pool"`
	// Compared are the sections that measure the same in several ways.
	Compared map[string]Comparison `json:"compared,omitempty"`
	Density  Density               `json:"density,omitzero"`
}

// Run is the run of the program that measured a section.
type Run struct {
	// Date is when the section was begun, Seconds how long it took, Program the
	// version of what was measured.
	Date    time.Time `json:"date"`
	Seconds float64   `json:"seconds"`
	Program string    `json:"program"`
	Machine Machine   `json:"machine"`
	Guest   Guest     `json:"guest"`
	// Repeated is how many rounds failed and were made again.
	Repeated int `json:"repeated_rounds"`
}

// Updated is the document with the sections that a later run measured in place
// of its own.
func (d Document) Updated(later Document) Document {
	updated := d
	updated.Version = later.Version
	updated.Runs, updated.Compared = maps.Clone(d.Runs), maps.Clone(d.Compared)
	for section, run := range later.Runs {
		setIn(&updated.Runs, section, run)
		switch section {
		case SectionWorkers:
			updated.Rounds, updated.Workers = later.Rounds, later.Workers
			updated.Ratios, updated.Profile = later.Ratios, later.Profile
		case SectionParts:
			updated.Lease, updated.CrowdedLease = later.Lease, later.CrowdedLease
			updated.Disks, updated.Pool = later.Disks, later.Pool
		case SectionDensity:
			updated.Density = later.Density
		default:
			setIn(&updated.Compared, section, later.Compared[section])
		}
	}
	return updated
}

func setIn[V any](all *map[string]V, name string, value V) {
	if *all == nil {
		*all = make(map[string]V)
	}
	(*all)[name] = value
}

// Parse reads a document that JSON wrote. One of another version is an error.
func Parse(text []byte) (Document, error) {
	var d Document
	if err := json.Unmarshal(text, &d); err != nil {
		return Document{}, fmt.Errorf("reading the document: %w", err)
	}
	if d.Version != Version {
		return Document{}, fmt.Errorf("the document is of version %d, not %d: remove it and measure every section anew",
			d.Version, Version)
	}
	return d, nil
}

// Machine is what the run was made on.
type Machine struct {
	Processor    string `json:"processor"`
	Cores        int    `json:"cores"`
	MemoryBytes  int64  `json:"memory_bytes"`
	Kernel       string `json:"kernel"`
	FileSystem   string `json:"file_system"`
	Acceleration string `json:"acceleration"`
	QEMU         string `json:"qemu"`
}

// Guest is the size of each worker, and the format of a clone's disk.
type Guest struct {
	CPUs        int    `json:"cpus"`
	MemoryBytes int64  `json:"memory_bytes"`
	DiskBytes   int64  `json:"disk_bytes"`
	DiskFormat  string `json:"disk_format"`
}

// Workers is what was measured of the workers of one way, so many at once.
type Workers struct {
	Method string `json:"method"`
	AtOnce int    `json:"at_once"`
	// Ready is of each worker, AllReady of the last one of each round, both
	// from the moment that the round's workers were asked for.
	Ready    Series `json:"ready_seconds"`
	AllReady Series `json:"all_ready_seconds"`
	// Disk is allocated blocks of files that are the worker's own, PSS and
	// Private its processes' memory once it had settled.
	Disk    Series `json:"disk_bytes"`
	PSS     Series `json:"pss_bytes"`
	Private Series `json:"private_bytes"`
}

// Phase is a part of a fork's way from promise to ready, in milliseconds.
type Phase struct {
	Name  string `json:"name"`
	Took  Series `json:"took_ms"`
	Ended Series `json:"ended_ms"`
}

// Lease is how long a worker's place on the network takes.
type Lease struct {
	// Others is how many leases there are beside it.
	Others   int    `json:"others"`
	SetUp    Series `json:"set_up_seconds"`
	TearDown Series `json:"tear_down_seconds"`
	// Both is of set-up and tear-down together.
	Both Series `json:"both_seconds"`
}

// Disk is one way of making a worker's disk on one file system.
type Disk struct {
	FileSystem string `json:"file_system"`
	Method     string `json:"method"`
	Seconds    Series `json:"seconds"`
	// Allocated is in bytes. A reflink is shown with blocks that it shares.
	Allocated Series `json:"allocated_bytes"`
}

// Timing is how long something takes that is done many times.
type Timing struct {
	Name    string `json:"name"`
	Seconds Series `json:"seconds"`
}

// JSON is the document as it is kept.
func (d Document) JSON() ([]byte, error) {
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the document: %w", err)
	}
	return append(text, '\n'), nil
}
