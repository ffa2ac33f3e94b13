//go:build linux

package oci

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/signature"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// Files of a golden image that came from a registry, beside those that all have.
const (
	// configFile is the config of its artifact: where its chunks are.
	configFile = "artifact.json"
	originFile = image.OriginFile
)

// keep puts both files into the directory of a new image.
func (p *pull) keep(ctx context.Context, work, signer string) error {
	if err := os.WriteFile(filepath.Join(work, configFile), p.config, 0o444); err != nil {
		return err
	}
	return noteOrigin(ctx, work, p.digest.String(), p.from.reference.String(), signer)
}

// readConfig reads where the chunks of an image are that was pulled.
func readConfig(dir string) (description, error) {
	text, err := statefile.Read(filepath.Join(dir, configFile), maxDescription)
	if err != nil {
		return description{}, err
	}
	return parseDescription(text, maxLayers)
}

// noteOrigin notes that a reference means an image now. Others may note another one at
// the same time.
func noteOrigin(ctx context.Context, dir, artifact, reference, signer string) (err error) {
	lock, err := filelock.Acquire(ctx, filepath.Join(dir, originFile+".lock"))
	if err != nil {
		return fmt.Errorf("noting what %s means: %w", reference, err)
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	origin, err := image.Golden{Dir: dir}.Origin()
	if err != nil {
		return err
	}
	if origin.Artifact != artifact {
		origin = image.Origin{Artifact: artifact}
	}
	if signer != "" {
		origin.Signer = signer
	}
	known := maps.Clone(origin.References)
	if known == nil {
		known = make(map[string]time.Time)
	}
	known[reference] = time.Now().UTC()
	origin.References = known
	return cache.WriteNote(dir, originFile, origin)
}

// checkOrigin tells whether the image that is here is the artifact. Two builds of one
// recipe have the same digest, and need not have the same content. Only a tag that asks
// for no signature may mean one that is not: what is here serves then.
func checkOrigin(
	golden image.Golden, from *repository, found artifact, signed bool, progress image.Progress,
) (same bool, err error) {
	origin, err := golden.Origin()
	if err != nil || origin.Artifact == found.digest.String() {
		return err == nil, err
	}
	built := "was built here"
	if origin.Artifact != "" {
		built = "is from the artifact " + origin.Artifact
	}
	other := fmt.Sprintf("golden image %s is here already and %s: `image rm %s` makes way for this one",
		golden.Digest, built, golden.Digest)
	if signed || from.reference.ValidateReferenceAsDigest() == nil {
		return false, errors.New(other)
	}
	progress(other+"; what is here is used", "") // a stage, which every log shows
	return false, nil
}

// former is the image that the reference meant when it was last asked for.
func (r *Registry) former(reference string) (latest image.Golden, found bool) {
	from, err := r.open(reference)
	if err != nil {
		return image.Golden{}, false
	}
	signer := ""
	if r.options.VerifyKey != "" {
		key, err := signature.ReadPublicKey(r.options.VerifyKey)
		if err != nil {
			return image.Golden{}, false
		}
		signer = signature.Fingerprint(key)
	}
	var at time.Time
	goldens, _ := r.cache.List() // whatever is damaged
	for _, golden := range goldens {
		origin, err := golden.Origin()
		when, meant := origin.References[from.reference.String()]
		if err == nil && meant && when.After(at) && (signer == "" || origin.Signer == signer) {
			latest, at, found = golden, when, true
		}
	}
	return latest, found
}

// shelf is where content is on this host, by its digest: in images that came from a
// registry too.
type shelf map[string]place

type place struct {
	path string
	at   int64
}

// shelf reads what the images here say of themselves; what they hold is compared when it
// is read.
func (r *Registry) shelf() shelf {
	all := make(shelf)
	goldens, _ := r.cache.List() // whatever is damaged
	for _, golden := range goldens {
		described, err := readConfig(golden.Dir)
		if err != nil {
			continue
		}
		for _, p := range described.Parts {
			for _, c := range p.Chunks {
				all[c.SHA256] = place{filepath.Join(golden.Dir, p.Name), c.At}
			}
		}
	}
	return all
}

func (s shelf) read(want chunk) (content []byte, found bool) {
	at, found := s[want.SHA256]
	if !found {
		return nil, false
	}
	file, err := statefile.Open(at.path, os.O_RDONLY)
	if err != nil { // such as that of a tree, which was unpacked
		return nil, false
	}
	defer file.Close()
	content = make([]byte, want.Size)
	if _, err := file.ReadAt(content, at.at); err != nil {
		return nil, false
	}
	return content, want.is(content)
}
