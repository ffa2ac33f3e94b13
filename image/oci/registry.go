//go:build linux

package oci

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
)

// Options are what is known before there is a reference.
type Options struct {
	// Images is the directory of golden images, and Downloads keeps what has come of
	// one until it is whole. Both are on one file system.
	Images, Downloads string
	// PlainHTTP has all registries be asked without encryption.
	PlainHTTP bool
	// VerifyKey is the path of the public key that artifacts must be signed with;
	// empty means that none need be.
	VerifyKey string
	// Retry is the pause after a request that failed; it doubles with each. Default
	// one second. Limit is how long a request may take. Default two minutes.
	Retry, Limit time.Duration
}

// Registry takes golden images to registries and brings them from there.
type Registry struct {
	options Options
	cache   *cache.Cache
}

// New makes no request.
func New(options Options) *Registry {
	options.Retry, options.Limit = cmp.Or(options.Retry, time.Second), cmp.Or(options.Limit, requestLimit)
	return &Registry{options, cache.New(options.Images)}
}

// fitsProgram compares the guest agent of an image with this program, which it has to
// be: both ends of a line must speak the same.
func fitsProgram(have image.Recipe, agent string) error {
	if have.AgentSHA256 == agent {
		return nil
	}
	return fmt.Errorf("its guest agent is another build of this program (SHA-256 %.12s…, this one %.12s…): "+
		"use the same build on all hosts, or build and push the image with this one", have.AgentSHA256, agent)
}

// fits compares an image with what a pool asks for, beside its source.
func fits(have, want image.Recipe) error {
	switch {
	case asksForMore(want):
		return errors.New("packages, commands, files, a kernel, user-data, a proxy and certificates are for an image " +
			"that is built here, and this one is finished: remove them from image, and set them where it is built")
	case have.Form != want.Form:
		return fmt.Errorf("it is %s, and this pool's backend needs %s: push one that was built with this backend",
			describeForm(have.Form), describeForm(want.Form))
	case have.User != want.User:
		return fmt.Errorf("its jobs log in as %q and this pool's as %q: "+
			"set connector_config.username to %q, or build an image for this user", have.User, want.User, have.User)
	case have.Disk != want.Disk:
		return fmt.Errorf("its disk has %d bytes and machine.disk asks for %d: set machine.disk to %q",
			have.Disk, want.Disk, fmt.Sprintf("%dMiB", have.Disk>>20))
	}
	return fitsProgram(have, want.AgentSHA256)
}

// asksForMore says whether a recipe wants something done to its image.
func asksForMore(r image.Recipe) bool {
	return len(r.Packages)+len(r.PresetRun)+len(r.Run)+len(r.Files)+len(r.Env)+len(r.Secrets)+
		len(r.NoProxy)+len(r.Certificates) > 0 || r.Kernel+r.UserData+r.Proxy != ""
}

func describeForm(form string) string {
	switch form {
	case image.Disk:
		return "a disk for virtual machines"
	case image.ShiftedTree:
		return "a tree for containers with user namespaces"
	}
	return "a tree for containers without user namespaces"
}
