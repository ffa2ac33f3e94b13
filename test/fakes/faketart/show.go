//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// listed is a line of list, with the real one's names.
type listed struct {
	Source, Name string
	Disk, Size   int
	Accessed     string
	Running      bool
	State        string
}

func list(c call) error {
	if c.last("--format", "text") != "json" {
		return usage("the fake knows '--format json' only")
	}
	if failing("list") {
		return fail("The file “config.json” couldn’t be opened because there is no such file.")
	}
	var all []listed
	source := c.last("--source", "")
	if source != "" && source != "local" && source != "oci" {
		return usage("'%s' is not a valid <source>", source)
	}
	if source != "oci" {
		for _, v := range machines() {
			all = append(all, listed{"local", filepath.Base(v.dir), v.read().DiskGB, 21, "2026-08-20T10:00:00Z",
				v.pid() != 0, v.state()})
		}
	}
	if source != "local" {
		entries, _ := os.ReadDir(filepath.Join(home(), "cache", "OCIs"))
		for _, entry := range entries {
			name := strings.ReplaceAll(entry.Name(), "_", "/")
			all = append(all, listed{"OCI", name, 50, 21, "2026-08-20T10:00:00Z", false, "stopped"})
		}
	}
	if len(all) == 0 {
		fmt.Print("[\n\n]\n")
		return nil
	}
	text, err := json.MarshalIndent(all, "", "  ")
	fmt.Println(string(text))
	return err
}

func get(c call) error {
	if c.last("--format", "text") != "json" {
		return usage("the fake knows '--format json' only")
	}
	v, err := find(c.names[0])
	if err != nil {
		return err
	}
	config := v.read()
	text, err := json.MarshalIndent(map[string]any{
		"OS": config.OS, "CPU": config.CPUCount, "Memory": config.MemorySize >> 20, "Disk": config.DiskGB,
		"DiskFormat": "raw", "Size": "21.345", "Display": "1024x768", "Running": v.pid() != 0, "State": v.state(),
	}, "", "  ")
	fmt.Println(string(text))
	return err
}
