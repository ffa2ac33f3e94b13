// Package report is what a benchmark run says: the document that it keeps,
// what follows from it (medians, ratios), its tables, and their place between
// markers in a page. It measures nothing and touches no file.
package report

import (
	"encoding/json"
	"fmt"
	"time"
)

// Version is the version of Document that this program writes.
const Version = 1

// Ways of making a worker, in the order of the tables.
const (
	Old   = "old way"
	Clone = "clone"
	Fork  = "fork"
	// Stocked is a fork of which all was made ahead that needs no identity.
	Stocked = "fork in stock"
)

// Document is a whole run. It names no host and no path.
type Document struct {
	Version int `json:"version"`
	// Date is when the run began, Seconds how long it took, Program the
	// version of what was measured.
	Date    time.Time `json:"date"`
	Seconds float64   `json:"seconds"`
	Program string    `json:"program"`
	Machine Machine   `json:"machine"`
	Guest   Guest     `json:"guest"`
	// Rounds is how often each measurement of workers was made, by how many
	// were started at once.
	Rounds map[int]int `json:"rounds"`
	// Repeated is how many rounds failed and were made again.
	Repeated int       `json:"repeated_rounds"`
	Workers  []Workers `json:"workers"`
	Ratios   []Ratios  `json:"ratios"`
	Profile  []Phase   `json:"fork_profile"`
	// Lease is of a host without others, CrowdedLease of one with many.
	Lease        Lease    `json:"lease"`
	CrowdedLease Lease    `json:"crowded_lease"`
	Disks        []Disk   `json:"disks"`
	Pool         []Timing `json:"pool"`
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
