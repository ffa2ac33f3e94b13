//go:build linux

package fakecloudhypervisor

import "net/http"

// This file states what Mayfly relies on in Cloud Hypervisor's API, as it is at
// v53: the calls, their order, and their bodies. What Mayfly does not send, the
// fake refuses.

// state is how far the machine has come.
type state int

const (
	absent  state = 1 << iota // nothing is known of it
	created                   // it is configured
	running
	paused
)

// call is one of the API's: its method, the form of its body, or nil for none,
// the states of the machine that allow it, and what it does.
type call struct {
	method string
	body   form
	in     state
	do     func(v *vmm, body []byte) (answer any, err error)
}

var calls = map[string]call{
	"vmm.ping":        {http.MethodGet, nil, absent | created | running | paused, (*vmm).ping},
	"vmm.shutdown":    {http.MethodPut, nil, absent | created | running | paused, (*vmm).shutDown},
	"vm.create":       {http.MethodPut, machine, absent, (*vmm).create},
	"vm.boot":         {http.MethodPut, nil, created, (*vmm).boot},
	"vm.pause":        {http.MethodPut, nil, running, (*vmm).pause},
	"vm.resume":       {http.MethodPut, nil, paused, (*vmm).resume},
	"vm.snapshot":     {http.MethodPut, snapshot, paused, (*vmm).snapshot},
	"vm.restore":      {http.MethodPut, restore, absent, (*vmm).restore},
	"vm.power-button": {http.MethodPut, nil, running | paused, (*vmm).powerButton},
}

// Errors that the real program tells from others by their status.
const (
	errNotCreated  reason = "VM is not created"
	errCreated     reason = "VM is already created"
	errNotBooted   reason = "VM is not running"
	errNotPaused   reason = "VM is not paused"
	errBadRequest  reason = "Bad Request"
	errBadBody     reason = "Failed to deserialize JSON"
	errUnknownCall reason = "Not Found"
)

// reason is an error in the real program's own words.
type reason string

func (r reason) Error() string { return string(r) }

// refusal is why a call is not allowed in a state, or nil.
func (c call) refusal(in state) error {
	switch {
	case c.in&in != 0:
		return nil
	case c.in == created && in == absent:
		return errNotCreated
	case c.in == created, c.in == absent:
		return errCreated
	case c.in == paused && in == running:
		return errNotPaused
	}
	return errNotBooted
}

// machine is the body of vm.create, and the config.json of a snapshot.
var machine = object{
	"payload": required{object{"kernel": text{}, "initramfs": text{}, "cmdline": text{}}},
	"cpus":    object{"boot_vcpus": required{atLeast(1)}, "max_vcpus": required{atLeast(1)}, "nested": flag{}},
	"memory": object{
		"size":  required{atLeast(0)}, // bytes; 0 beside zones
		"zones": list{object{"id": required{text{}}, "size": required{atLeast(0)}, "file": text{}, "shared": flag{}}},
	},
	"disks": list{object{
		"id": text{}, "path": text{}, "image_type": text{"Raw", "Qcow2"}, "readonly": flag{}, "backing_files": flag{},
		"num_queues": atLeast(1), "rate_limiter_config": rateLimit,
	}},
	"net": list{object{
		"id": text{}, "tap": text{}, "mac": text{}, "host_mac": text{}, // the last in snapshots only
		"num_queues": atLeast(2), "rate_limiter_config": rateLimit,
	}},
	"devices":         list{object{"id": text{}, "path": required{text{}}}},
	"rng":             object{"src": required{text{}}},
	"balloon":         object{"size": required{atLeast(0)}, "deflate_on_oom": flag{}, "free_page_reporting": flag{}},
	"serial":          console,
	"console":         console,
	"vsock":           object{"cid": required{atLeast(3)}, "socket": required{text{}}},
	"pvpanic":         flag{},
	"watchdog":        flag{}, // in snapshots only
	"landlock_enable": flag{},
	"landlock_rules":  list{object{"path": required{text{}}, "access": required{text{}}}},
}

var (
	console   = object{"mode": required{text{"Off", "File"}}, "file": text{}}
	rateLimit = object{"bandwidth": bucket, "ops": bucket}
	// bucket holds so many bytes or operations, and is full again after so many
	// milliseconds.
	bucket = object{"size": required{atLeast(0)}, "refill_time": required{atLeast(0)}}
)

var (
	snapshot = object{"destination_url": required{text{}}}
	restore  = object{"source_url": required{text{}}, "memory_restore_mode": text{"Copy"}, "resume": flag{}}
)
