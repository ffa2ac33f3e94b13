//go:build linux

package fakecloudhypervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
)

// vmm is the state behind the API.
type vmm struct {
	events *os.File
	// end is closed when the program is to end. start runs functions on the
	// program's main thread.
	end   chan struct{}
	start chan func()

	mu     sync.Mutex
	ended  bool
	config *vmConfig
	vm     *qemu // nil unless booted
	paused bool
}

// state is the machine's. The caller holds the lock.
func (v *vmm) state() state {
	switch {
	case v.config == nil:
		return absent
	case v.vm == nil:
		return created
	case v.paused:
		return paused
	}
	return running
}

// ServeHTTP answers as the real program does: 404 for what it does not know and
// for a machine that is not created, 400 for a request of the wrong form, 500
// for everything else that fails, each with a list of reasons.
func (v *vmm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	name, _ := strings.CutPrefix(r.URL.Path, "/api/v1/")
	body, _ := io.ReadAll(r.Body)
	answer, err := v.handle(name, r.Method, body)
	status := statusOf(err, answer)
	record(name, body, status)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Server", "Cloud Hypervisor API")
	text, _ := json.Marshal(answer)
	if err != nil {
		text, _ = json.Marshal(append([]string{"Error from API"}, strings.Split(err.Error(), ": ")...))
	}
	if status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	}
	w.WriteHeader(status)
	if status != http.StatusNoContent {
		_, _ = w.Write(text)
	}
}

func (v *vmm) handle(name, method string, body []byte) (any, error) {
	c, ok := calls[name]
	switch {
	case !ok:
		return nil, errUnknownCall
	case method != c.method:
		return nil, errBadRequest
	}
	if err := CheckBody(name, body); err != nil {
		return nil, err
	}
	if err := c.refusal(v.state()); err != nil {
		return nil, err
	}
	if fails(name) {
		return nil, fmt.Errorf("%s was told to fail", name)
	}
	return c.do(v, body)
}

func statusOf(err error, answer any) int {
	switch {
	case errors.Is(err, errUnknownCall), errors.Is(err, errNotCreated):
		return http.StatusNotFound
	case errors.Is(err, errBadRequest), errors.Is(err, errBadBody):
		return http.StatusBadRequest
	case err != nil:
		return http.StatusInternalServerError
	case answer == nil:
		return http.StatusNoContent
	}
	return http.StatusOK
}

// record prints a request if the test wants to see it.
func record(name string, body []byte, status int) {
	if os.Getenv(Requests) == "" {
		return
	}
	line, _ := json.Marshal(Request{name, string(body), status})
	_, _ = os.Stdout.Write(append(line, '\n'))
}

// Request is one line of what Requests has printed.
type Request struct {
	Call   string `json:"call"`
	Body   string `json:"body"`
	Status int    `json:"status"`
}
