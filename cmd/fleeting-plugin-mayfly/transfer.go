package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

type imagePushCommand struct {
	configuration
	Reference string `arg:"" name:"REF" help:"Where to, such as registry.example.org/mayfly/debian:13."`
	Image     string `placeholder:"DIGEST" help:"Push this image of this host, and not the configuration's."`
	SignKey   path   `placeholder:"FILE" help:"Sign with this private key, ECDSA on P-256 in PEM."`
	PlainHTTP bool   `name:"plain-http" help:"Speak http with the registry, without encryption."`
}

// Run builds the image unless it is there, pushes it, and prints the artifact's reference.
func (c imagePushCommand) Run(ctx context.Context, s *streams, h *host.Host) error {
	settings, runner, err := c.load()
	if err != nil {
		return err
	}
	shown := newProgress(s.err)
	defer shown.endBar()
	var golden image.Golden
	if c.Image == "" {
		golden, _, err = h.BuildImage(ctx, settings, runner.Username, host.Building{}, shown.report, s.log)
	} else {
		golden, err = findImage(h.Images(settings.ImagesDir()), c.Image)
	}
	if err != nil {
		return err
	}
	transfer := host.Transfer{
		Reference: plainReference(c.Reference), SignKey: string(c.SignKey),
		PlainHTTP: c.PlainHTTP || settings.Image.PlainHTTP,
	}
	digest, err := h.PushImage(ctx, settings, golden, transfer, shown.report)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s@%s\n", withoutTag(transfer.Reference), digest)
	return err
}

type imagePullCommand struct {
	configuration
	Reference string `arg:"" name:"REF" help:"Where from, such as registry.example.org/mayfly/debian:13."`
	VerifyKey path   `placeholder:"FILE" help:"Take only what is signed by this public key, ECDSA on P-256 in PEM."`
	PlainHTTP bool   `name:"plain-http" help:"Speak http with the registry, without encryption."`
}

// Run pulls the image unless it is there, and prints its digest.
func (c imagePullCommand) Run(ctx context.Context, s *streams, h *host.Host) error {
	settings, _, err := c.load()
	if err != nil {
		return err
	}
	transfer := host.Transfer{
		Reference: plainReference(c.Reference), VerifyKey: string(c.VerifyKey),
		PlainHTTP: c.PlainHTTP || settings.Image.PlainHTTP,
	}
	if transfer.VerifyKey == "" {
		transfer.VerifyKey = settings.Image.VerifyKey
	}
	shown := newProgress(s.err)
	defer shown.endBar()
	golden, err := h.PullImage(ctx, settings, transfer, shown.report, s.log)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, golden.Digest)
	return err
}

// plainReference takes what image.source has too.
func plainReference(text string) string { return strings.TrimPrefix(text, image.OCI+":") }

// withoutTag is what a digest is put behind.
func withoutTag(reference string) string {
	if tag := strings.LastIndexByte(reference, ':'); tag > strings.LastIndexByte(reference, '/') {
		return reference[:tag]
	}
	return reference
}

// minDigest is how many digits of a digest name an image.
const minDigest = 8

// findImage finds an image by its digest, or by so much of its beginning that no other
// image has it.
func findImage(images host.Images, name string) (found image.Golden, err error) {
	if len(name) < minDigest {
		return found, usageError{fmt.Errorf("%q is too short for the digest of an image: write at least %d digits",
			name, minDigest)}
	}
	all, damaged := images.List()
	count := 0
	for _, golden := range all {
		if strings.HasPrefix(golden.Digest, name) {
			found, count = golden, count+1
		}
	}
	switch count {
	case 0:
		return found, errors.Join(fmt.Errorf("there is no image %s here: `image list` shows all", name), damaged)
	case 1:
		return found, nil
	}
	return image.Golden{}, fmt.Errorf("%d images begin with %s: write more of the digest", count, name)
}
