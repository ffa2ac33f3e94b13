//go:build linux

package oci

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/disk"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/oci/archive"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/signature"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// Pull brings the golden image that the reference leads to, for a program with this
// digest as its guest agent, unless it is here already.
func (r *Registry) Pull(
	ctx context.Context, reference, agent string, progress image.Progress,
) (image.Golden, error) {
	return r.bring(ctx, reference, progress, func(have image.Recipe) error { return fitsProgram(have, agent) })
}

// Golden brings the image that a recipe names by a reference, which must be what the
// recipe asks for in all else. While the registry gives no answer, the image that the
// reference meant when it last did serves on.
func (r *Registry) Golden(ctx context.Context, want image.Recipe, progress image.Progress) (image.Golden, error) {
	isFit := func(have image.Recipe) error { return fits(have, want) }
	golden, err := r.bring(ctx, want.Source.Location, progress, isFit)
	if !errors.As(err, new(unanswered)) || ctx.Err() != nil {
		return golden, err
	}
	former, found := r.former(want.Source.Location)
	if !found || isFit(former.Recipe) != nil {
		return golden, err
	}
	progress(fmt.Sprintf("%v; %s is what it meant before", err, former.Digest), "") // a stage, which every log shows
	return former, nil
}

func (r *Registry) bring(
	ctx context.Context, reference string, progress image.Progress, isFit func(image.Recipe) error,
) (image.Golden, error) {
	from, err := r.open(reference)
	if err != nil {
		return image.Golden{}, err
	}
	golden, err := r.pull(ctx, from, progress, isFit)
	if err != nil {
		return image.Golden{}, fmt.Errorf("pulling %s: %w", from.reference, err)
	}
	return golden, nil
}

func (r *Registry) pull(
	ctx context.Context, from *repository, progress image.Progress, isFit func(image.Recipe) error,
) (image.Golden, error) {
	progress("registry", from.reference.String())
	var signer string
	var key *ecdsa.PublicKey
	var err error
	if r.options.VerifyKey != "" {
		if key, err = signature.ReadPublicKey(r.options.VerifyKey); err != nil {
			return image.Golden{}, finalError{err}
		}
		signer = signature.Fingerprint(key)
	}
	found, err := from.artifact(ctx, key)
	if err != nil {
		return image.Golden{}, err
	}
	if err := isFit(found.Image.Recipe); err != nil {
		return image.Golden{}, finalError{err}
	}
	fill := func(ctx context.Context, work string) (root string, err error) {
		p := &pull{from: from, artifact: found, shelf: r.shelf(), report: report{progress: progress, moved: "fetched"}}
		return found.Image.Root, r.fill(ctx, p, work, signer)
	}
	golden, err := r.cache.Build(ctx, found.Image.Recipe, fill)
	if err != nil {
		return image.Golden{}, err
	}
	same, err := checkOrigin(golden, from, found, key != nil, progress)
	if err != nil {
		return image.Golden{}, finalError{err}
	}
	if same {
		err = noteOrigin(ctx, golden.Dir, found.digest.String(), from.reference.String(), signer)
	}
	return golden, err
}

// artifact asks what the reference means, and checks all that the registry says of it.
// With a key, nothing is read of what that key has not signed.
func (r *repository) artifact(ctx context.Context, key *ecdsa.PublicKey) (artifact, error) {
	resolved, err := r.resolve(ctx)
	if err != nil {
		return artifact{}, err
	}
	if err := checkDescriptor(resolved, maxManifest); err != nil {
		return artifact{}, finalError{fmt.Errorf("its manifest: %w", err)}
	}
	if named, err := r.reference.Digest(); err == nil && named != resolved.Digest {
		return artifact{}, finalError{fmt.Errorf("the registry answered with %s", resolved.Digest)}
	}
	if key != nil {
		if err := r.verify(ctx, resolved.Digest, key); err != nil {
			return artifact{}, err
		}
	}
	text, err := r.fetch(ctx, r.manifests, resolved)
	if err != nil {
		return artifact{}, fmt.Errorf("fetching its manifest: %w", err)
	}
	manifest, err := parseManifest(text)
	if err != nil {
		return artifact{}, finalError{err}
	}
	config, err := r.fetch(ctx, r.blobs, manifest.Config)
	if err != nil {
		return artifact{}, fmt.Errorf("fetching its config: %w", err)
	}
	described, err := parseDescription(config, len(manifest.Layers))
	if err != nil {
		return artifact{}, finalError{err}
	}
	return artifact{digest: resolved.Digest, layers: manifest.Layers, description: described, config: config}, nil
}

// fill makes the image's files in the directory of downloads, where a pull that is cut
// finds them again, and moves them when all are whole.
func (r *Registry) fill(ctx context.Context, p *pull, work, signer string) (err error) {
	if err := os.MkdirAll(r.options.Downloads, 0o700); err != nil {
		return fmt.Errorf("making the directory of downloads: %w", err)
	}
	name := filepath.Join(r.options.Downloads, downloadName(p.digest))
	lock, err := filelock.Acquire(ctx, name+".lock")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	part := name + ".part"
	if err := statefile.CheckDirectory(part); err != nil {
		return err
	}
	if err := os.MkdirAll(part, 0o700); err != nil {
		return err
	}
	if err := p.checkRoom(part); err != nil {
		return err
	}
	if err := p.all(ctx, part, work); err != nil {
		if diskspace.IsFull(err) { // what has come would keep the disk full
			err = errors.Join(err, os.RemoveAll(part))
		}
		return err
	}
	if err := p.keep(ctx, work, signer); err != nil {
		return err
	}
	return os.RemoveAll(part)
}

// checkRoom compares what the image's files will take, beside what of them is there, with
// what is free. A tree is there twice for a while.
func (p *pull) checkRoom(dir string) error {
	wanted := int64(0)
	for _, one := range p.Parts {
		wanted += one.data()
		if one.Name == treePart {
			wanted += one.data()
		}
	}
	there, err := diskspace.Taken(dir)
	if err != nil {
		return err
	}
	room, err := diskspace.Of(dir)
	if err != nil {
		return err
	}
	if missing := wanted - there; missing > room.Free {
		return finalError{fmt.Errorf("it takes %s more here, and %s are free",
			megabytes(missing), megabytes(room.Free))}
	}
	return nil
}

func downloadName(d digest.Digest) string { return "oci-" + d.Encoded() }

// pull is one image on its way.
type pull struct {
	from *repository
	artifact
	shelf  shelf
	report report
}

func (p *pull) all(ctx context.Context, dir, work string) error {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(parallel), zstd.WithDecoderMaxMemory(maxChunk))
	if err != nil {
		return err
	}
	defer decoder.Close()
	for _, one := range p.Parts {
		if err := p.part(ctx, decoder, one, filepath.Join(dir, one.Name)); err != nil {
			return fmt.Errorf("its %s: %w", one.Name, err)
		}
	}
	for _, one := range p.Parts {
		path := filepath.Join(dir, one.Name)
		if one.Name != treePart {
			if err := os.Rename(path, filepath.Join(work, one.Name)); err != nil {
				return err
			}
			continue
		}
		p.report.progress("unpack", "")
		if err := unpack(ctx, path, filepath.Join(work, image.TreeDir)); err != nil {
			return err
		}
	}
	return nil
}

func unpack(ctx context.Context, from, dir string) error {
	file, err := os.Open(from)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return archive.Read(ctx, file, info.Size(), dir)
}

// part has the file at path be a part of the image, whatever of it is there.
func (p *pull) part(ctx context.Context, decoder *zstd.Decoder, want part, path string) (err error) {
	file, err := statefile.Open(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := file.Truncate(want.Size); err != nil {
		return err
	}
	p.report.begin("pull "+want.Name, want.data())
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, c := range want.Chunks {
		if each.Err() != nil {
			break
		}
		group.Go(func() error { return p.chunk(each, decoder, file, c) })
	}
	err = errors.Join(group.Wait(), context.Cause(ctx))
	p.report.end()
	return err
}

// chunk has a stretch of the file be what it should be: it is so already, or comes from
// an image that is here, or from the registry.
func (p *pull) chunk(ctx context.Context, decoder *zstd.Decoder, file *os.File, want chunk) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	there := make([]byte, want.Size)
	if _, err := file.ReadAt(there, want.At); err != nil && err != io.EOF {
		return err
	}
	if want.is(there) {
		p.report.add(want.Size, 0)
		return nil
	}
	content, found := p.shelf.read(want)
	fetched := int64(0)
	if !found {
		var err error
		layer := p.layers[want.Layer]
		if content, err = p.fetch(ctx, decoder, want); err != nil {
			return fmt.Errorf("its chunk at %d: %w", want.At, err)
		}
		fetched = layer.Size
	}
	if err := write(file, there, content, want.At); err != nil {
		return err
	}
	p.report.add(want.Size, fetched)
	return nil
}

// is compares content with the digest of the chunk.
func (c chunk) is(content []byte) bool {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]) == c.SHA256
}

func (p *pull) fetch(ctx context.Context, decoder *zstd.Decoder, want chunk) ([]byte, error) {
	packed, err := p.from.fetch(ctx, p.from.blobs, p.layers[want.Layer])
	if err != nil {
		return nil, err
	}
	content, err := decoder.DecodeAll(packed, make([]byte, 0, want.Size))
	if err != nil {
		return nil, finalError{fmt.Errorf("unpacking it: %w", err)}
	}
	if int64(len(content)) != want.Size || !want.is(content) {
		return nil, finalError{errors.New("its content is not what the image's config says")}
	}
	return content, nil
}

// write leaves holes where the content is zeros and the file has nothing yet.
func write(file *os.File, there, content []byte, at int64) error {
	if isZeros(there) {
		return disk.WriteSparse(file, content, at)
	}
	_, err := file.WriteAt(content, at)
	return err
}
