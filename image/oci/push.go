//go:build linux

package oci

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/oci/archive"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/signature"
)

// Push sends a golden image to where the reference, which ends in a tag, leads, and
// returns the digest of the artifact. Chunks that the registry has are not sent. The same
// image makes the same artifact. With signKey, the path of a private key, it is signed.
func (r *Registry) Push(
	ctx context.Context, golden image.Golden, reference, signKey string, progress image.Progress,
) (digest string, err error) {
	to, err := r.open(reference)
	if err != nil {
		return "", err
	}
	if to.reference.ValidateReferenceAsDigest() == nil {
		return "", fmt.Errorf("%q names an artifact that is there already: write a tag in place of the digest",
			reference)
	}
	var key *ecdsa.PrivateKey
	if signKey != "" {
		if key, err = signature.ReadPrivateKey(signKey); err != nil {
			return "", err
		}
	}
	release, err := golden.Hold(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, release()) }()
	digest, err = r.push(ctx, golden, to, key, progress)
	if err != nil {
		return "", fmt.Errorf("pushing golden image %s to %s: %w", golden.Digest, to.reference, err)
	}
	return digest, noteOrigin(ctx, golden.Dir, digest, to.reference.String(), "")
}

func (r *Registry) push(
	ctx context.Context, golden image.Golden, to *repository, key *ecdsa.PrivateKey, progress image.Progress,
) (string, error) {
	if err := checkAddresses(golden.Recipe); err != nil {
		return "", err
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(parallel))
	if err != nil {
		return "", err
	}
	p := &push{
		to: to, encoder: encoder, sent: make(map[string]bool),
		report: report{progress: progress, moved: "sent"},
	}
	described := description{Version: descriptionVersion, Architecture: runtime.GOARCH, Image: golden.Manifest}
	if pulled, err := readConfig(golden.Dir); err == nil {
		described.Image = pulled.Image // which says when it was built, and not when it came here
	}
	layers := layerList{index: make(map[string]int)}
	for _, name := range partNames {
		made, blobs, err := p.part(ctx, golden, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		for i := range made.Chunks {
			made.Chunks[i].Layer = layers.add(blobs[i])
		}
		described.Parts = append(described.Parts, made)
	}
	if err := described.check(len(layers.all)); err != nil { // nobody could pull it
		return "", err
	}
	made, manifest, err := p.finish(ctx, described, layers.all)
	if err == nil && key != nil { // before it has its tag: nobody finds it unsigned
		progress("sign", "")
		err = to.sign(ctx, made, key)
	}
	if err == nil {
		err = to.tag(ctx, made, manifest, to.reference.Reference)
	}
	return made.Digest.String(), err
}

// checkAddresses refuses what would show a password to all who may pull: the recipe is a
// part of the artifact.
func checkAddresses(r image.Recipe) error {
	for setting, address := range map[string]string{"image.source": r.Source.Location, "image.proxy": r.Proxy} {
		u, err := url.Parse(address)
		if err == nil && (u.User != nil || u.RawQuery != "") {
			return fmt.Errorf("%s has a user, a password or a query in its URL, and everybody who may pull the image "+
				"would see it: build the image with an address that has none", setting)
		}
	}
	return nil
}

// layerList is the layers of an artifact, each once.
type layerList struct {
	all   []ocispec.Descriptor
	index map[string]int
}

func (l *layerList) add(blob ocispec.Descriptor) (index int) {
	index, known := l.index[blob.Digest.String()]
	if !known {
		index = len(l.all)
		l.all, l.index[blob.Digest.String()] = append(l.all, blob), index
	}
	return index
}

// push is one image on its way.
type push struct {
	to      *repository
	encoder *zstd.Encoder
	report  report

	mu sync.Mutex
	// sent are the digests of blobs that some chunk has sent, or is sending.
	sent map[string]bool
}

// part sends a file of the image, or its tree. The error is fs.ErrNotExist when it has
// none.
func (p *push) part(ctx context.Context, golden image.Golden, name string) (part, []ocispec.Descriptor, error) {
	if name == treePart {
		return p.tree(ctx, golden.Tree())
	}
	file, err := os.Open(filepath.Join(golden.Dir, name))
	if err != nil {
		return part{}, nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return part{}, nil, err
	}
	data, err := dataOf(ctx, file, info.Size())
	if err != nil {
		return part{}, nil, err
	}
	piece, err := pieceFor(data)
	if err != nil {
		return part{}, nil, err
	}
	p.report.begin("push "+name, data)
	chunks, blobs, err := p.chunks(ctx, cutDisk(ctx, file, info.Size(), piece))
	return part{Name: name, Size: info.Size(), Chunks: chunks}, blobs, err
}

func (p *push) tree(ctx context.Context, dir string) (part, []ocispec.Descriptor, error) {
	data, err := archive.Size(dir)
	if err != nil {
		return part{}, nil, err
	}
	piece, err := pieceFor(data)
	if err != nil {
		return part{}, nil, err
	}
	p.report.begin("push "+treePart, data)
	stream, into := io.Pipe()
	written := make(chan struct{})
	go func() {
		defer close(written)
		into.CloseWithError(archive.Write(ctx, dir, into))
	}()
	chunks, blobs, err := p.chunks(ctx, cutStream(stream, piece))
	stream.Close() // so that the writer ends when nobody reads on
	<-written
	made := part{Name: treePart, Chunks: chunks}
	if n := len(chunks); n > 0 {
		made.Size = chunks[n-1].At + chunks[n-1].Size
	}
	return made, blobs, err
}

// chunks sends what is cut, several at once, and returns for each its place and its
// blob.
func (p *push) chunks(ctx context.Context, cut cutter) (chunks []chunk, blobs []ocispec.Descriptor, err error) {
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	var mu sync.Mutex
	for next, cutErr := range cut {
		if err = cutErr; err != nil || each.Err() != nil {
			break
		}
		mu.Lock()
		n := len(chunks)
		chunks, blobs = append(chunks, chunk{At: next.at}), append(blobs, ocispec.Descriptor{})
		mu.Unlock()
		group.Go(func() error {
			made, blob, err := p.chunk(each, next)
			mu.Lock()
			defer mu.Unlock()
			chunks[n], blobs[n] = made, blob
			return err
		})
	}
	err = errors.Join(group.Wait(), err, context.Cause(ctx))
	p.report.end()
	return chunks, blobs, err
}

func (p *push) chunk(ctx context.Context, s stretch) (chunk, ocispec.Descriptor, error) {
	sum := sha256.Sum256(s.content)
	packed := p.encoder.EncodeAll(s.content, nil)
	blob := content.NewDescriptorFromBytes(chunkType, packed)
	made := chunk{At: s.at, Size: int64(len(s.content)), SHA256: hex.EncodeToString(sum[:])}
	sent := false
	var err error
	if p.isFirst(blob) {
		sent, err = p.to.put(ctx, blob, packed)
	}
	if sent {
		p.report.add(made.Size, blob.Size)
	} else {
		p.report.add(made.Size, 0)
	}
	return made, blob, err
}

// isFirst claims a blob.
func (p *push) isFirst(blob ocispec.Descriptor) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.sent[blob.Digest.String()]
	p.sent[blob.Digest.String()] = true
	return !known
}

// finish sends the description, and returns the manifest, which is sent when it is signed.
func (p *push) finish(
	ctx context.Context, d description, layers []ocispec.Descriptor,
) (made ocispec.Descriptor, manifest []byte, err error) {
	config, err := json.Marshal(d)
	if err != nil {
		return made, nil, err
	}
	described := content.NewDescriptorFromBytes(configType, config)
	manifest, err = json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: ArtifactType, Config: described, Layers: layers,
		Annotations: map[string]string{"vnd.mayfly.golden.digest": d.Image.Digest},
	})
	if err != nil {
		return made, nil, err
	}
	if len(config) > maxDescription || len(manifest) > maxManifest {
		return made, nil, fmt.Errorf("%d chunks are more than one artifact can hold", len(layers))
	}
	p.report.progress("push manifest", "")
	if _, err := p.to.put(ctx, described, config); err != nil {
		return made, nil, err
	}
	return content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest), manifest, nil
}
