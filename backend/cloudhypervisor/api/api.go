// Package api is a small client of Cloud Hypervisor's API: the calls and the
// parts of its configuration that the backend needs, over a unix socket, and
// its stream of events. What to ask for is the caller's business.
//
// Facts are from its OpenAPI document, version 0.3.0, and its source at v53.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// root is where the API is served; the host's name is for HTTP's sake.
const root = "http://localhost/api/v1/"

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// Error is a refusal of a call.
type Error struct {
	Call   string
	Status int
	// Reasons are from the outermost to the innermost.
	Reasons []string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: status %d: %s", e.Call, e.Status, strings.Join(e.Reasons, ": "))
}

// Client calls one machine's API. Its methods may be called concurrently.
type Client struct{ http http.Client }

// New returns a client of the API on a unix socket.
func New(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", socket)
	}
	return &Client{http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true, DisableKeepAlives: true}}}
}

// Create says what the machine is to be.
func (c *Client) Create(ctx context.Context, config VmConfig) error {
	return c.call(ctx, "vm.create", config)
}

// Boot starts the machine that was created.
func (c *Client) Boot(ctx context.Context) error { return c.call(ctx, "vm.boot", nil) }

// Pause stops the machine's processors; it must be running.
func (c *Client) Pause(ctx context.Context) error { return c.call(ctx, "vm.pause", nil) }

// Resume lets a machine run that was paused, or restored.
func (c *Client) Resume(ctx context.Context) error { return c.call(ctx, "vm.resume", nil) }

// Snapshot saves the paused machine to a directory that exists.
func (c *Client) Snapshot(ctx context.Context, dir string) error {
	return c.call(ctx, "vm.snapshot", SnapshotConfig{DestinationURL: "file://" + dir})
}

// Restore makes a machine from a snapshot, in place of Create and Boot. It is
// paused, unless the restore says otherwise.
func (c *Client) Restore(ctx context.Context, restore RestoreConfig) error {
	return c.call(ctx, "vm.restore", restore)
}

// PowerButton asks the guest to end.
func (c *Client) PowerButton(ctx context.Context) error { return c.call(ctx, "vm.power-button", nil) }

// ShutDown ends the machine, flushes its disks, and ends the program.
func (c *Client) ShutDown(ctx context.Context) error { return c.call(ctx, "vmm.shutdown", nil) }

// call sends no body at all for a nil one: actions refuse any.
func (c *Client) call(ctx context.Context, call string, body any) error {
	request, err := newRequest(ctx, call, body)
	if err != nil {
		return fmt.Errorf("%s: %w", call, err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("%s: %w", call, err)
	}
	defer response.Body.Close()
	if response.StatusCode < 300 {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer)) // what came of it may say why
	return &Error{Call: call, Status: response.StatusCode, Reasons: reasons(text)}
}

func newRequest(ctx context.Context, call string, body any) (*http.Request, error) {
	if body == nil {
		return http.NewRequestWithContext(ctx, http.MethodPut, root+call, http.NoBody)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, root+call, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	return request, nil
}

// reasons are a list of strings in newer versions, and a text in older ones.
func reasons(text []byte) []string {
	var list []string
	if json.Unmarshal(text, &list) == nil && len(list) > 0 {
		return list
	}
	if said := strings.TrimSpace(string(text)); said != "" {
		return []string{said}
	}
	return []string{"no reason given"}
}
