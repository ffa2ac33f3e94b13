package source

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"runtime"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/distribution"
)

// Distributions downloads the images that Linux distributions publish, by their names.
type Distributions struct {
	HTTPS
	// GOARCH is the architecture that images are for; empty is this program's.
	GOARCH string
}

// maxList is how many bytes a list of digests, its signature, or the index of a
// directory may have.
const maxList = 4 << 20

// Fetch returns the path of the newest image of a source of kind image.Distribution. It
// is downloaded unless it is there already.
func (d Distributions) Fetch(ctx context.Context, from image.Source, output func(line string)) (string, error) {
	file, trust, err := d.find(ctx, from)
	if err != nil {
		return "", fmt.Errorf("finding the image of %s: %w", from.Location, err)
	}
	output(from.Location + " is " + file.Public())
	output(trust)
	return d.HTTPS.Fetch(ctx, file, output)
}

// find is the file that a name stands for now, and why its digest is believed.
func (d Distributions) find(ctx context.Context, from image.Source) (file image.Source, trust string, err error) {
	goarch := d.GOARCH
	if goarch == "" {
		goarch = runtime.GOARCH
	}
	place, err := distribution.Find(from.Location, goarch)
	if err != nil {
		return image.Source{}, "", err
	}
	if place.Directory, err = mirrored(place.Directory, from.Mirror); err != nil {
		return image.Source{}, "", err
	}
	if place, err = d.nameFiles(ctx, place); err != nil {
		return image.Source{}, "", err
	}
	list, trust, err := d.readDigests(ctx, place, from.Keyring)
	if err != nil {
		return image.Source{}, "", err
	}
	file, err = choose(place, list)
	return file, trust, err
}

// mirrored is the same directory below another root.
func mirrored(directory, mirror string) (string, error) {
	if mirror == "" {
		return directory, nil
	}
	original, err := url.Parse(directory)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(mirror, "/") + original.EscapedPath(), nil
}

// nameFiles finds out what the list of digests is called. Where its name has a version,
// only the index of the directory tells that.
func (d Distributions) nameFiles(ctx context.Context, p distribution.Place) (distribution.Place, error) {
	fill := strings.NewReplacer("{image}", p.Image).Replace
	p.Digests, p.Signature = fill(p.Digests), fill(p.Signature)
	if !strings.Contains(p.Digests, "*") {
		return p, nil
	}
	index, err := d.Read(ctx, p.Directory, maxList)
	if err != nil {
		return p, err
	}
	name, found := newest(p.Digests, parseIndex(index))
	if !found {
		return p, fmt.Errorf("%s links to no %s%s", p.Directory, p.Digests, beginning(index))
	}
	if p.Signature == p.Digests {
		p.Signature = name
	}
	p.Digests = name
	return p, nil
}

// readDigests reads the list of digests, and checks its signature where a key is known.
func (d Distributions) readDigests(
	ctx context.Context, p distribution.Place, keyring string,
) (list []byte, trust string, err error) {
	keys, missing, err := keysOf(p, keyring)
	if err != nil {
		return nil, "", err
	}
	text, err := d.Read(ctx, p.Directory+p.Digests, maxList)
	if err != nil {
		return nil, "", err
	}
	if keys == nil {
		return text, "its digest comes over TLS, and no signature was checked: " + missing, nil
	}
	var signature []byte
	if p.Signature != p.Digests {
		if signature, err = d.Read(ctx, p.Directory+p.Signature, maxList); err != nil {
			return nil, "", err
		}
	}
	signed, signer, err := verifySignature(keys, text, signature)
	if err != nil {
		return nil, "", fmt.Errorf("the signature of %s: %w: the file was changed, or the keyring lacks its key",
			p.Directory+p.Digests, err)
	}
	return signed, "its digest is signed by the key " + signer, nil
}

// keysOf are the keys in the keyring that is named, or in the first that this host has
// of the distribution. Without any, missing says why.
func keysOf(p distribution.Place, keyring string) (keys openpgp.EntityList, missing string, err error) {
	switch {
	case p.Signature == "" && keyring != "":
		return nil, "", errors.New("image.keyring: this distribution does not sign its images: remove it")
	case p.Signature == "":
		return nil, "the distribution signs no images", nil
	case keyring != "":
		if keys, err = readKeyring(keyring); err != nil {
			err = fmt.Errorf("image.keyring: %w", err)
		}
		return keys, "", err
	}
	for _, path := range p.Keyrings {
		if keys, err = readKeyring(path); !errors.Is(err, fs.ErrNotExist) {
			return keys, "", err
		}
	}
	return nil, "no key of the distribution is on this host; image.keyring names one", nil
}

// choose finds the image and its digest in a list.
func choose(p distribution.Place, list []byte) (image.Source, error) {
	digests := parseDigests(list)
	listed, found := newest(cmp.Or(p.Built, p.Image), slices.Collect(maps.Keys(digests)))
	name := listed
	if p.Built != "" {
		name = p.Image
		if !found {
			listed, found = newest(p.Image, slices.Collect(maps.Keys(digests)))
		}
	}
	if !found {
		return image.Source{}, fmt.Errorf("%s has no digest of %s%s", p.Directory+p.Digests, p.Image, beginning(list))
	}
	digest := digests[listed]
	file := image.Source{Kind: image.HTTPS, Location: p.Directory + name}
	if len(digest) == 2*sha512.Size {
		file.SHA512 = digest
	} else {
		file.SHA256 = digest
	}
	return file, nil
}

// beginning shows what stands in place of what was asked for, such as a page that wants
// a login.
func beginning(text []byte) string {
	const most = 60
	line, _, _ := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	return fmt.Sprintf("; it begins with %q", line[:min(len(line), most)])
}
