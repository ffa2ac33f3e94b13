//go:build linux

package fakecloudhypervisor

import (
	"os"
	"slices"
	"strings"
)

// Variables of the environment that say how the fake behaves.
const (
	// Fails lists what is to fail, with commas between: a call, such as
	// "vm.restore"; "probe", the boot that probes KVM; "panic" and "reboot",
	// which the guest does as soon as it has booted.
	Fails = "MAYFLY_FAKE_CLOUD_HYPERVISOR_FAILS"
	// Requests, when it is not empty, has every request printed, one JSON object
	// a line: what is called, the body, and the status of the answer.
	Requests = "MAYFLY_FAKE_CLOUD_HYPERVISOR_REQUESTS"
	// Release is the version to be, v53.0 unless it is set.
	Release = "MAYFLY_FAKE_CLOUD_HYPERVISOR_RELEASE"
)

func fails(what string) bool { return slices.Contains(strings.Split(os.Getenv(Fails), ","), what) }

// release is like "v53.0".
func release() string {
	if set := os.Getenv(Release); set != "" {
		return set
	}
	return "v53.0"
}
