// Command release makes what users install of Mayfly, in a directory: programs for every
// system, packages, the tree of fleeting's artifact, recipes for package managers, man
// pages, bills of materials, provenance, checksums, and a signature. It asks no network
// service, and what it makes follows from the source and the Go toolchain alone, bit by
// bit; only signatures are new each time.
//
// What is installed where is in packaging/, in the forms of the tools that read it. It
// runs at the top of the repository, and publishes nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// program is the name of what is released, and of its packages.
const program = "fleeting-plugin-mayfly"

// release is what is made, and of what.
type release struct {
	version string
	// commit is empty where there is no git.
	commit string
	// made is when the source was committed: what has a time has this one.
	made      time.Time
	platforms []platform
	// dir is where all of it goes.
	dir string
	// key is the path of the private key that signs; empty for no signature.
	key string
}

// platform is a system and its processor, as Go names them.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "/" + p.arch }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	described := flags.String("version", "", "the version, or what git describe says")
	platforms := flags.String("platforms", "", "what programs are made for, such as \"linux/amd64 darwin/arm64\"")
	dir := flags.String("into", "dist", "an empty directory, or one that is not there yet")
	key := flags.String("key", "", "a private ECDSA key on P-256 in PEM, which signs the checksums")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r := release{dir: *dir, key: *key}
	var err error
	if r.version, err = versionOf(*described); err != nil {
		return err
	}
	if r.platforms, err = parsePlatforms(*platforms); err != nil {
		return err
	}
	if r.commit, r.made, err = revision(ctx, os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		return err
	}
	return r.make(ctx)
}

func parsePlatforms(text string) (all []platform, err error) {
	for _, name := range strings.Fields(text) {
		system, arch, found := strings.Cut(name, "/")
		if !found {
			return nil, fmt.Errorf("-platforms: %q: write a system and a processor, such as linux/amd64", name)
		}
		all = append(all, platform{system, arch})
	}
	if len(all) == 0 {
		return nil, errors.New("-platforms names none: write some, such as \"linux/amd64 darwin/arm64\"")
	}
	return all, nil
}

// make does all of it. What describes files comes after them.
func (r release) make(ctx context.Context) error {
	if left, err := os.ReadDir(r.dir); err == nil && len(left) > 0 {
		return fmt.Errorf("%s is not empty, and what is in it might be taken for a part of the release: remove it",
			r.dir)
	}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return err
	}
	documents, err := os.MkdirTemp("", "release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(documents)
	for _, step := range []func() error{
		func() error { return r.build(ctx) },
		func() error { return r.document(documents) },
		func() error { return r.pack(documents) },
		r.describe,
		r.fillRecipes,
		func() error { return r.attest(ctx) },
		r.sum,
		r.sign,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// path is where a file of the release is.
func (r release) path(name string) string { return filepath.Join(r.dir, name) }

// binary is the name of the program for a platform.
func (p platform) binary() string { return program + "-" + p.os + "-" + p.arch }

// files are the names of all that has been made so far, below the directory, sorted.
func (r release) files() (names []string, err error) {
	err = fs.WalkDir(os.DirFS(r.dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			names = append(names, name)
		}
		return err
	})
	return names, err
}
