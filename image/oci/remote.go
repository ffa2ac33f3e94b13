//go:build linux

package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

const (
	// parallel is how many chunks are on their way at once. Each takes maxChunk of
	// memory twice at most.
	parallel = 8
	// attempts is how often a request is tried that fails by no fault of its own.
	attempts = 5
	// requestLimit bounds each try by default. What is asked for has a few megabytes, so
	// that a connection that is slower than this has stalled.
	requestLimit = 2 * time.Minute
	// defaultTag is what a reference means that ends after the name.
	defaultTag = "latest"
)

// repository is where a reference leads.
type repository struct {
	reference registry.Reference
	blobs     registry.BlobStore
	manifests registry.ManifestStore
	// pause is that after a try that failed, and limit that of a try.
	pause, limit time.Duration
}

// open makes no request.
func (r *Registry) open(reference string) (*repository, error) {
	parsed, err := registry.ParseReference(reference)
	if err != nil {
		return nil, fmt.Errorf("%q is not a valid reference of an image: "+
			"write for instance \"registry.example.org/mayfly/debian:13\": %w", reference, err)
	}
	if parsed.Reference == "" {
		parsed.Reference = defaultTag
	}
	config, err := dockerConfig()
	if err != nil {
		return nil, err
	}
	logins, err := credentials.NewStore(config, credentials.StoreOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the logins of docker's configuration: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = 30 * time.Second
	transport.MaxIdleConnsPerHost = parallel
	repo := &remote.Repository{
		Reference: parsed, PlainHTTP: r.options.PlainHTTP,
		Client: &auth.Client{
			Client:     &http.Client{Transport: encrypted{transport, r.options.PlainHTTP}},
			Header:     http.Header{"User-Agent": {"fleeting-plugin-mayfly"}},
			Cache:      auth.NewCache(),
			Credential: credentials.Credential(logins),
		},
	}
	return &repository{
		reference: parsed, blobs: repo.Blobs(), manifests: repo.Manifests(),
		pause: r.options.Retry, limit: r.options.Limit,
	}, nil
}

// dockerConfig is the path of docker's configuration. Services have no HOME, but their
// users have one.
func dockerConfig() (string, error) {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home := os.Getenv("HOME")
		if home == "" {
			us, err := user.Current()
			if err != nil {
				return "", fmt.Errorf("looking for docker's configuration: %w", err)
			}
			home = us.HomeDir
		}
		dir = filepath.Join(home, ".docker")
	}
	return filepath.Join(dir, "config.json"), nil
}

// encrypted refuses whatever a registry leads to that is not https, redirects and
// servers of tokens among it, unless that was asked for.
type encrypted struct {
	next  http.RoundTripper
	plain bool
}

func (e encrypted) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme != "https" && !e.plain {
		return nil, finalError{fmt.Errorf("it leads to %s://%s, which is not https",
			request.URL.Scheme, request.URL.Host)}
	}
	return e.next.RoundTrip(request)
}

// finalError is an error that another try would only get again.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// unanswered is the error of a request that no try has brought an answer to.
type unanswered struct{ error }

func (e unanswered) Unwrap() error { return e.error }

// try makes a request until it succeeds, each time within the limit, with longer and
// longer pauses.
func (r *repository) try(ctx context.Context, request func(context.Context) error) error {
	pause := r.pause
	for n := 1; ; n++ {
		once, cancel := context.WithTimeoutCause(ctx, r.limit,
			fmt.Errorf("the registry took more than %v for one request", r.limit))
		err := request(once)
		if err != nil && ctx.Err() == nil && once.Err() != nil {
			err = context.Cause(once)
		}
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return errors.Join(plain(err), context.Cause(ctx))
		case isBroken(err):
			return fmt.Errorf("it was changed in the registry or on its way: %w", err)
		case isFinal(err):
			return plain(err)
		case n == attempts:
			return unanswered{plain(err)}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause *= 2
	}
}

// isFinal tells what the registry has decided from what may be better next time.
func isFinal(err error) bool {
	if errors.As(err, new(finalError)) || errors.Is(err, errdef.ErrNotFound) ||
		errors.Is(err, http.ErrSchemeMismatch) {
		return true
	}
	var refused *errcode.ErrorResponse
	return errors.As(err, &refused) && refused.StatusCode < 500 &&
		refused.StatusCode != http.StatusTooManyRequests && refused.StatusCode != http.StatusRequestTimeout
}

// isBroken says that what came is not what was asked for.
func isBroken(err error) bool {
	return errors.Is(err, content.ErrMismatchedDigest) || errors.Is(err, content.ErrTrailingData) ||
		errors.Is(err, content.ErrInvalidDescriptorSize)
}

// plain is an error without the URL of a redirect, which may hold a secret.
func plain(err error) error {
	if errors.Is(err, http.ErrSchemeMismatch) {
		return errors.New("the registry speaks http, and not https: let it have a certificate, " +
			"or say that you want this, by image.plain_http or --plain-http")
	}
	if failed := (&url.Error{}); errors.As(err, &failed) {
		if address, parsed := url.Parse(failed.URL); parsed == nil {
			return fmt.Errorf("asking %s: %w", address.Host, failed.Err)
		}
		return failed.Err
	}
	return err
}

// resolve asks what the reference means now.
func (r *repository) resolve(ctx context.Context) (found ocispec.Descriptor, err error) {
	err = r.try(ctx, func(ctx context.Context) (err error) {
		found, err = r.manifests.Resolve(ctx, r.reference.Reference)
		return err
	})
	if err != nil {
		return found, fmt.Errorf("looking for %s: %w", r.reference, err)
	}
	return found, nil
}

// fetcher is a store of blobs, or that of manifests.
type fetcher = content.Fetcher

// fetch returns content that has the size and the digest of its descriptor, which the
// caller has bounded.
func (r *repository) fetch(ctx context.Context, from fetcher, what ocispec.Descriptor) (text []byte, err error) {
	err = r.try(ctx, func(ctx context.Context) (err error) {
		text, err = content.FetchAll(ctx, from, what)
		return err
	})
	return text, err
}

// put sends a blob unless it is there. It says whether it was sent.
func (r *repository) put(ctx context.Context, blob ocispec.Descriptor, text []byte) (sent bool, err error) {
	err = r.try(ctx, func(ctx context.Context) error {
		there, err := r.blobs.Exists(ctx, blob)
		if there || err != nil {
			return err
		}
		sent = true
		return r.blobs.Push(ctx, blob, bytes.NewReader(text))
	})
	return sent, err
}

// tag sends a manifest, and has a tag mean it.
func (r *repository) tag(ctx context.Context, manifest ocispec.Descriptor, text []byte, tag string) error {
	return r.try(ctx, func(ctx context.Context) error {
		return r.manifests.PushReference(ctx, manifest, bytes.NewReader(text), tag)
	})
}
