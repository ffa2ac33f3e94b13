//go:build linux

package oci

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/signature"
)

// What cosign calls the parts of a signature by a key. It lies beside what is signed, at
// a tag that is made of its digest.
const (
	payloadType         = "application/vnd.dev.cosign.simplesigning.v1+json"
	signatureAnnotation = "dev.cosignproject.cosign/signature"
	payloadKind         = "cosign container image signature"
)

// Bounds of what a registry may say about signatures.
const (
	maxSignatures = 100
	maxPayload    = 64 << 10
)

// payload is what is signed: the digest of the artifact.
type payload struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]any `json:"optional"`
}

func signatureTag(signed digest.Digest) string { return "sha256-" + signed.Encoded() + ".sig" }

// sign puts a signature beside the artifact, in place of one that is there.
func (r *repository) sign(ctx context.Context, signed ocispec.Descriptor, key *ecdsa.PrivateKey) error {
	var p payload
	p.Critical.Identity.Reference = r.reference.Registry + "/" + r.reference.Repository
	p.Critical.Image.Digest, p.Critical.Type = signed.Digest.String(), payloadKind
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	made, err := signature.Sign(key, text)
	if err != nil {
		return err
	}
	layer := content.NewDescriptorFromBytes(payloadType, text)
	layers := ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}}
	config, err := json.Marshal(ocispec.Image{RootFS: layers})
	if err != nil {
		return err
	}
	described := content.NewDescriptorFromBytes(ocispec.MediaTypeImageConfig, config)
	for blob, text := range map[*ocispec.Descriptor][]byte{&layer: text, &described: config} {
		if _, err := r.put(ctx, *blob, text); err != nil {
			return fmt.Errorf("sending the signature: %w", err)
		}
	}
	layer.Annotations = map[string]string{signatureAnnotation: made}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: described, Layers: []ocispec.Descriptor{layer},
	})
	if err != nil {
		return err
	}
	descriptor := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest)
	if err := r.tag(ctx, descriptor, manifest, signatureTag(signed.Digest)); err != nil {
		return fmt.Errorf("sending the signature: %w", err)
	}
	return nil
}

// verify looks for a signature of the artifact by the key among those beside it.
func (r *repository) verify(ctx context.Context, signed digest.Digest, key *ecdsa.PublicKey) error {
	found, err := r.signatures(ctx, signed)
	if err != nil {
		return err
	}
	for _, layer := range found {
		if layer.MediaType != payloadType || checkDescriptor(layer, maxPayload) != nil {
			continue
		}
		text, err := r.fetch(ctx, r.blobs, layer)
		if err != nil {
			return fmt.Errorf("fetching a signature: %w", err)
		}
		if signature.Verify(key, text, layer.Annotations[signatureAnnotation]) {
			return checkPayload(text, signed)
		}
	}
	return errors.New("none of its signatures is by the key of image.verify_key: " +
		"sign it with the private key of that, or give the public key of who signs")
}

func checkPayload(text []byte, signed digest.Digest) error {
	var p payload
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("reading a signature: %w", err)
	}
	if p.Critical.Type != payloadKind || p.Critical.Image.Digest != signed.String() {
		return fmt.Errorf("its signature is of another artifact, %.100q", p.Critical.Image.Digest)
	}
	return nil
}

// signatures are the layers of what lies at the tag for signatures.
func (r *repository) signatures(ctx context.Context, signed digest.Digest) ([]ocispec.Descriptor, error) {
	at := *r
	at.reference.Reference = signatureTag(signed)
	found, err := at.resolve(ctx)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, errors.New("it is not signed, and image.verify_key asks for a signature: push it with --sign-key")
	}
	if err == nil {
		err = checkDescriptor(found, maxManifest)
	}
	if err != nil {
		return nil, fmt.Errorf("looking for signatures: %w", err)
	}
	text, err := r.fetch(ctx, r.manifests, found)
	if err != nil {
		return nil, fmt.Errorf("fetching signatures: %w", err)
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		return nil, fmt.Errorf("reading signatures: %w", err)
	}
	if len(manifest.Layers) > maxSignatures {
		return nil, fmt.Errorf("it has %d signatures, more than %d", len(manifest.Layers), maxSignatures)
	}
	return manifest.Layers, nil
}
