package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
)

// describe writes a bill of materials beside each program, of what the program itself
// says that it was built from.
func (r release) describe() error {
	for _, p := range r.platforms {
		binary := r.path(p.binary())
		info, err := buildinfo.ReadFile(binary)
		if err != nil {
			return fmt.Errorf("reading what %s was built from: %w", binary, err)
		}
		sum, err := sha256Of(binary)
		if err != nil {
			return err
		}
		if err := writeBill(binary+".cdx.json", r.bill(p, info, sum)); err != nil {
			return fmt.Errorf("writing the bill of materials of %s: %w", binary, err)
		}
	}
	return nil
}

// bill is the bill of materials of a program of which the SHA-256 is sum.
func (r release) bill(p platform, info *debug.BuildInfo, sum string) *cyclonedx.BOM {
	main := cyclonedx.Component{
		Type: cyclonedx.ComponentTypeApplication, Name: p.binary(), Version: r.version,
		Hashes: &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: sum}},
	}
	main.PackageURL = packageURL(info.Main.Path, "v"+r.version)
	main.BOMRef = main.PackageURL
	parts := []cyclonedx.Component{library("std", strings.TrimPrefix(info.GoVersion, "go"))}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		parts = append(parts, library(module.Path, module.Version))
	}
	var needs []string
	for _, part := range parts {
		needs = append(needs, part.BOMRef)
	}
	bill := cyclonedx.NewBOM()
	// The number follows from the program, and so is the same for everyone who makes it.
	bill.SerialNumber = uuid.NewSHA1(uuid.NameSpaceOID, []byte(sum)).URN()
	bill.Metadata = &cyclonedx.Metadata{Timestamp: r.made.Format(time.RFC3339), Component: &main}
	bill.Components = &parts
	bill.Dependencies = &[]cyclonedx.Dependency{{Ref: main.BOMRef, Dependencies: &needs}}
	return bill
}

func library(path, version string) cyclonedx.Component {
	url := packageURL(path, version)
	return cyclonedx.Component{
		BOMRef: url, PackageURL: url, Type: cyclonedx.ComponentTypeLibrary, Name: path, Version: version,
	}
}

// packageURL names a Go module for scanners.
func packageURL(path, version string) string {
	return "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
}

func writeBill(path string, bill *cyclonedx.BOM) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return cyclonedx.NewBOMEncoder(file, cyclonedx.BOMFileFormatJSON).SetPretty(true).Encode(bill)
}

// sha256Of is the SHA-256 of a file, in hexadecimal.
func sha256Of(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
