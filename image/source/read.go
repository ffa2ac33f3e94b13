package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Read returns what is at an https URL, such as a list of digests, if it has limit bytes
// at most. It tries again as Fetch does, each time from the beginning.
func (h HTTPS) Read(ctx context.Context, address string, limit int64) (text []byte, err error) {
	from := image.Source{Kind: image.HTTPS, Location: address}
	if err := checkURL(from); err != nil {
		return nil, err
	}
	pause := positive(h.Retry, time.Second)
	for failures := 1; ; failures++ {
		text, err = h.read(ctx, from, limit)
		if err == nil {
			return text, nil
		}
		if ctx.Err() != nil || errors.As(err, new(finalError)) || failures == attempts {
			return nil, fmt.Errorf("reading %s: %w", from.Public(), errors.Join(err, ctx.Err()))
		}
		if err := sleep(ctx, pause<<failures); err != nil {
			return nil, err
		}
	}
}

func (h HTTPS) read(ctx context.Context, from image.Source, limit int64) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from.Location, nil)
	if err != nil {
		return nil, finalError{errors.New("it is not a valid URL")}
	}
	response, err := h.client().Do(request)
	if failed := (&url.Error{}); errors.As(err, &failed) {
		return nil, failed.Err // without the URL, which may hold secrets
	}
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, refusal(response)
	}
	body := &watched{body: response.Body, ctx: ctx, cancel: cancel, stall: positive(h.Stall, time.Minute)}
	text, err := io.ReadAll(io.LimitReader(body, limit+1))
	if int64(len(text)) > limit {
		return nil, finalError{fmt.Errorf("it has more than %s", megabytes(limit))}
	}
	return text, err
}

// refusal is what an answer other than the file means: final unless the server says that
// it may answer better later.
func refusal(response *http.Response) error {
	err := fmt.Errorf("the server answered %s", response.Status)
	if response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests {
		return err
	}
	return finalError{err}
}
