//go:build linux

package cloudhypervisor

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
	schemas Schemas
	events  *os.File
	// dir is where the log is: what a killed program leaves goes with it.
	dir string
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

// call is one of the API's: its method, the schema of its body, or "" for none,
// and what it does.
type call struct {
	method, schema string
	do             func(v *vmm, body []byte) (answer any, err error)
}

var calls = map[string]call{
	"vmm.ping":        {http.MethodGet, "", (*vmm).ping},
	"vmm.shutdown":    {http.MethodPut, "", (*vmm).shutDown},
	"vm.create":       {http.MethodPut, "VmConfig", (*vmm).create},
	"vm.boot":         {http.MethodPut, "", (*vmm).boot},
	"vm.pause":        {http.MethodPut, "", (*vmm).pause},
	"vm.resume":       {http.MethodPut, "", (*vmm).resume},
	"vm.snapshot":     {http.MethodPut, "VmSnapshotConfig", (*vmm).snapshot},
	"vm.restore":      {http.MethodPut, "RestoreConfig", (*vmm).restore},
	"vm.power-button": {http.MethodPut, "", (*vmm).powerButton},
}

// reason is an error in the real program's own words.
type reason string

func (r reason) Error() string { return string(r) }

// Errors that the real program tells from others by their status.
const (
	errNotCreated  reason = "VM is not created"
	errCreated     reason = "VM is already created"
	errNotBooted   reason = "VM is not running"
	errBadRequest  reason = "Bad Request"
	errBadBody     reason = "Failed to deserialize JSON"
	errUnknownCall reason = "Not Found"
)

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
	case method != c.method, (c.schema == "") != (len(body) == 0):
		return nil, errBadRequest // an action with a body, or a body that is missing
	case c.schema != "":
		if err := v.schemas.Check(c.schema, body); err != nil {
			return nil, fmt.Errorf("%w: %w", errBadBody, err)
		}
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

// record appends a request to the file that the test named.
func record(name string, body []byte, status int) {
	path := os.Getenv(Requests)
	if path == "" {
		return
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return // the test misses it
	}
	defer file.Close()
	line, _ := json.Marshal(Request{name, string(body), status})
	_, _ = file.Write(append(line, '\n'))
}

// Request is one line of the file that Requests names.
type Request struct {
	Call   string `json:"call"`
	Body   string `json:"body"`
	Status int    `json:"status"`
}
