package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // a format
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm" // another one

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// packageFile says what is in the packages.
const packageFile = "release/packaging/nfpm.yaml"

// pack makes the packages for Linux.
func (r release) pack(documents string) error {
	for _, p := range r.platforms {
		if p.os != "linux" {
			continue
		}
		for _, format := range []string{"deb", "rpm"} {
			if err := r.packAs(format, p, documents); err != nil {
				return fmt.Errorf("making the %s for %s: %w", format, p, err)
			}
		}
	}
	return nil
}

func (r release) packAs(format string, p platform, documents string) (err error) {
	values := map[string]string{
		"ARCH": p.arch, "VERSION": r.version, "PROGRAM": r.path(p.binary()), "DOCUMENTS": documents,
	}
	config, err := nfpm.ParseFileWithEnvMapping(packageFile, func(name string) string { return values[name] })
	if err != nil {
		return fmt.Errorf("reading %s: %w", packageFile, err)
	}
	config.MTime = r.made
	for _, content := range config.Contents { // files of a checkout have its time, and its user's umask
		if content.FileInfo == nil {
			content.FileInfo = new(files.ContentFileInfo)
		}
		if content.FileInfo.Mode == 0 && content.Type != files.TypeDir {
			content.FileInfo.Mode = 0o644
		}
		content.FileInfo.MTime = r.made
	}
	info, err := config.Get(format)
	if err != nil {
		return err
	}
	if format == "deb" {
		info.Recommends = append(info.Recommends, machinePackages(p.arch)...)
	}
	packager, err := nfpm.Get(format)
	if err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(r.dir, packager.ConventionalFileName(info)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return packager.Package(info, file)
}

// machinePackages are Debian's packages that workers on QEMU need.
func machinePackages(arch string) (names []string) {
	for _, p := range programs.Table {
		if p.Use == programs.Run && (p.Arch == "" || p.Arch == arch) {
			names = append(names, p.Package)
		}
	}
	return names
}
