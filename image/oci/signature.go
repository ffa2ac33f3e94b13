//go:build linux

package oci

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
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
	maxKey        = 64 << 10
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
	sum := sha256.Sum256(text)
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		return fmt.Errorf("signing: %w", err)
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
	layer.Annotations = map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(signature)}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: described, Layers: []ocispec.Descriptor{layer},
	})
	if err != nil {
		return err
	}
	made := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest)
	if err := r.tag(ctx, made, manifest, signatureTag(signed.Digest)); err != nil {
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
		signature, err := base64.StdEncoding.DecodeString(layer.Annotations[signatureAnnotation])
		if err != nil || layer.MediaType != payloadType || checkDescriptor(layer, maxPayload) != nil {
			continue
		}
		text, err := r.fetch(ctx, r.blobs, layer)
		if err != nil {
			return fmt.Errorf("fetching a signature: %w", err)
		}
		if sum := sha256.Sum256(text); ecdsa.VerifyASN1(key, sum[:], signature) {
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

// readPublicKey reads what cosign calls cosign.pub: an ECDSA key on P-256, as PEM.
func readPublicKey(path string) (*ecdsa.PublicKey, error) {
	block, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	key, is := parsed.(*ecdsa.PublicKey)
	if err != nil || block.Type != "PUBLIC KEY" || !is || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s is no public ECDSA key on P-256: "+
			"give cosign.pub, or what `openssl ec -pubout` writes", path)
	}
	return key, nil
}

// readPrivateKey reads an ECDSA key on P-256, as PEM, in the form of PKCS #8 or SEC 1.
func readPrivateKey(path string) (*ecdsa.PrivateKey, error) {
	block, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(block.Type, "ENCRYPTED ") {
		return nil, fmt.Errorf("%s is encrypted: give a key without a password, such as "+
			"`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes", path)
	}
	var parsed any
	if block.Type == "EC PRIVATE KEY" {
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	} else {
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	key, is := parsed.(*ecdsa.PrivateKey)
	if err != nil || !is || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s is no private ECDSA key on P-256: make one with "+
			"`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`", path)
	}
	return key, nil
}

func readPEM(path string) (*pem.Block, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxKey {
		return nil, fmt.Errorf("reading a key: %s is not the file of one", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, fmt.Errorf("reading a key: %s has none in PEM", path)
		}
		if block.Type != "EC PARAMETERS" { // which openssl may put before a key
			return block, nil
		}
		text = rest
	}
}

// fingerprint names a public key.
func fingerprint(key *ecdsa.PublicKey) string {
	encoded, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}
