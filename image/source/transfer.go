package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// finalError is an error that another try would only get again.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// transfer is one download, over as many connections as it takes.
type transfer struct {
	client *http.Client
	stall  time.Duration
	limit  int64
	source image.Source
	into   partial
	output func(string)
}

// run makes one request for what is missing. It returns nil when the file is
// whole.
func (t transfer) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	request, err := t.request(ctx)
	if err != nil {
		return err
	}
	response, err := t.client.Do(request)
	if failed := (&url.Error{}); errors.As(err, &failed) {
		return failed.Err // without the URL, which may hold secrets
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body := &watched{body: response.Body, ctx: ctx, cancel: cancel, stall: t.stall}
	switch response.StatusCode {
	case http.StatusOK:
		return t.receive(body, response, 0)
	case http.StatusPartialContent:
		start, err := rangeStart(response.Header.Get("Content-Range"))
		if err != nil || start != t.into.size() {
			return errors.Join(errors.New("the server sent another part than asked for"), err, t.into.remove())
		}
		return t.receive(body, response, start)
	case http.StatusRequestedRangeNotSatisfiable:
		return errors.Join(errors.New("what was downloaded before is not a part of it"), t.into.remove())
	}
	return refusal(response)
}

// request asks for the rest of a part only when something will show that both
// belong to the same file: a validator that the server compares, or the digest.
// Otherwise it asks for the whole file.
func (t transfer) request(ctx context.Context) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.source.Location, nil)
	if err != nil {
		return nil, finalError{errors.New("it is not a valid URL")}
	}
	request.Header.Set("Accept-Encoding", "identity") // the digest is that of the file, not of an encoding
	have, validator := t.into.size(), t.into.validator()
	if _, known := digestOf(t.source); have == 0 || validator == "" && !known {
		return request, nil
	}
	request.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	if validator != "" {
		request.Header.Set("If-Range", validator)
	}
	return request, nil
}

func (t transfer) receive(body io.Reader, response *http.Response, start int64) error {
	if err := t.into.setValidator(validator(response.Header)); err != nil {
		return err
	}
	file, err := t.into.openAt(start)
	if err != nil {
		return err
	}
	total := int64(-1)
	if response.ContentLength >= 0 {
		total = start + response.ContentLength
	}
	room := int64(math.MaxInt64)
	if t.limit > 0 {
		room = t.limit - start
	}
	if response.ContentLength > room {
		return errors.Join(t.tooLarge(), file.Close(), t.into.remove())
	}
	report := &progress{output: t.output, done: start, total: total, now: time.Now}
	_, err = io.CopyN(io.MultiWriter(file, report), body, room)
	if err == nil && goesOn(body) { // the server did not say how much it sends
		err = errors.Join(t.tooLarge(), t.into.remove())
	}
	if err == io.EOF {
		err = nil
	}
	return errors.Join(err, file.Close())
}

// tooLarge is an error that no other try would spare.
func (t transfer) tooLarge() error {
	return finalError{fmt.Errorf("the file has more than the %s that an image for machine.disk can have: "+
		"raise machine.disk, or name another file", megabytes(t.limit))}
}

// goesOn tells whether something more comes.
func goesOn(body io.Reader) bool {
	n, _ := io.ReadFull(body, make([]byte, 1))
	return n > 0
}

// validator is what the server calls this version of the file: its strong entity
// tag, else its date. A weak entity tag does not promise the same bytes.
func validator(header http.Header) string {
	if tag := header.Get("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return header.Get("Last-Modified")
}

func rangeStart(contentRange string) (int64, error) {
	var start, end int64
	if _, err := fmt.Sscanf(contentRange, "bytes %d-%d/", &start, &end); err != nil {
		return 0, fmt.Errorf("Content-Range %q: %w", contentRange, err)
	}
	return start, nil
}

// watched is a body whose Read fails when no byte comes for too long.
type watched struct {
	body   io.Reader
	ctx    context.Context
	cancel context.CancelCauseFunc
	stall  time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	timer := time.AfterFunc(w.stall, func() { w.cancel(fmt.Errorf("nothing came for %v", w.stall)) })
	defer timer.Stop()
	n, err := w.body.Read(p)
	if err != nil && err != io.EOF && w.ctx.Err() != nil {
		err = context.Cause(w.ctx)
	}
	return n, err
}

// progress is a writer that counts bytes. It reports at most once a second, and
// at the end.
type progress struct {
	output func(string)
	done   int64
	total  int64 // below zero when the server does not say
	said   time.Time
	now    func() time.Time
}

func (p *progress) Write(b []byte) (int, error) {
	p.done += int64(len(b))
	if now := p.now(); p.done == p.total || now.Sub(p.said) >= time.Second {
		p.said = now
		p.output(p.String())
	}
	return len(b), nil
}

func (p *progress) String() string {
	if p.total <= 0 {
		return megabytes(p.done)
	}
	return fmt.Sprintf("%d %% of %s", p.done*100/p.total, megabytes(p.total))
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
