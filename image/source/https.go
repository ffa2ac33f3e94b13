package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// HTTPS downloads cloud images into a directory that keeps them. An image with
// a known digest is downloaded once. One without is downloaded each time, since
// nothing says that it is still the same.
type HTTPS struct {
	// Dir holds downloads, finished and not.
	Dir string
	// Limit is how many bytes a file may have; 0 is no limit.
	Limit int64
	// Client defaults to one that waits half a minute for an answer. Its
	// redirects are always confined to https.
	Client *http.Client
	// Retry is the pause after a connection that was cut; it doubles with each
	// connection in a row that got no further. Default one second.
	Retry time.Duration
	// Stall is how long a connection may stay without a byte. Default one minute.
	Stall time.Duration
}

// attempts is how many connections in a row may get no further.
const attempts = 5

// Fetch returns the path of the downloaded file. A download that was cut goes
// on where it stopped, in this call or in a later one; a file with the wrong
// digest is removed, and so is what has come when the disk is full.
func (h HTTPS) Fetch(ctx context.Context, from image.Source, output func(line string)) (string, error) {
	if err := checkURL(from); err != nil {
		return "", err
	}
	if err := os.MkdirAll(h.Dir, 0o700); err != nil {
		return "", fmt.Errorf("making the directory of downloads: %w", diskspace.Explain(h.Dir, err))
	}
	path := filepath.Join(h.Dir, fileName(from))
	lock, err := filelock.Acquire(ctx, path+lockSuffix)
	if err != nil {
		return "", fmt.Errorf("waiting for another download of %s: %w", from.Public(), err)
	}
	defer lock.Release()
	if _, known := digestOf(from); known && verify(ctx, path, from) == nil {
		output("already downloaded: " + from.Public())
		return path, touch(path)
	}
	if err := h.fetchLocked(ctx, from, path, output); err != nil {
		return "", fmt.Errorf("downloading %s: %w", from.Public(), diskspace.Explain(h.Dir, err))
	}
	return path, nil
}

func (h HTTPS) fetchLocked(ctx context.Context, from image.Source, path string, output func(string)) error {
	part := partial{path: path + partSuffix}
	if err := h.download(ctx, from, part, output); err != nil {
		if diskspace.IsFull(err) { // what has come would keep the disk full
			err = errors.Join(err, part.remove())
		}
		return err
	}
	if err := verify(ctx, part.path, from); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return errors.Join(err, part.remove())
	}
	return part.finish(path)
}

// download tries until the file is whole. It gives up after a number of tries
// in a row that got no further than the best before them, so that a server that
// always begins anew is not asked for ever.
func (h HTTPS) download(ctx context.Context, from image.Source, into partial, output func(string)) error {
	try := transfer{
		client: h.client(), stall: positive(h.Stall, time.Minute), limit: h.Limit,
		source: from, into: into, output: output,
	}
	pause := positive(h.Retry, time.Second)
	furthest := into.size()
	for failures := 0; ; {
		err := try.run(ctx)
		if err == nil || ctx.Err() != nil || errors.As(err, new(finalError)) || diskspace.IsFull(err) {
			return errors.Join(err, ctx.Err())
		}
		if failures++; into.size() > furthest {
			failures, furthest = 0, into.size()
		}
		if failures == attempts {
			return err
		}
		output(fmt.Sprintf("cut after %s (%v); going on", megabytes(into.size()), err))
		if err := sleep(ctx, pause<<failures); err != nil {
			return err
		}
	}
}

func (h HTTPS) client() *http.Client {
	client := http.Client{}
	if h.Client != nil {
		client = *h.Client
	} else {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.ResponseHeaderTimeout = 30 * time.Second
		client.Transport = transport
	}
	client.CheckRedirect = onlyHTTPS
	return &client
}

// onlyHTTPS refuses redirects to anything but https, as recipes are refused it.
func onlyHTTPS(request *http.Request, via []*http.Request) error {
	if request.URL.Scheme != "https" {
		return finalError{fmt.Errorf("it redirects to %s://%s, which is not https", request.URL.Scheme, request.URL.Host)}
	}
	if len(via) >= 10 {
		return finalError{errors.New("it redirects more than ten times")}
	}
	return nil
}

func checkURL(from image.Source) error {
	parsed, err := url.Parse(from.Location)
	if err != nil || parsed.Scheme != "https" || parsed.Host == "" {
		return fmt.Errorf("image source is not an https URL: %s", from.Public())
	}
	return nil
}

// fileName names a download by its digest or, when that is not known, by its
// URL.
func fileName(from image.Source) string {
	if known, ok := digestOf(from); ok {
		return known.algorithm + "-" + known.want
	}
	sum := sha256.Sum256([]byte(from.Location))
	return urlPrefix + hex.EncodeToString(sum[:16])
}

func positive(value, fallback time.Duration) time.Duration {
	if value > 0 {
		return value
	}
	return fallback
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
