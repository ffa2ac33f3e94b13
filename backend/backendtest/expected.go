package backendtest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Expected looks at a worker that is ready for what users expect of any machine. Its
// image is made from packages, with the steps of testrun, and its lease has corp.test as
// search domain.
func Expected(t *testing.T, w Worker) {
	t.Helper()
	hosts := w.Output(t, "getent ahostsv4 registry.test localhost; getent hosts $(hostname)")
	assert.Contains(t, hosts, "192.0.2.7", "the image's own lines in the hosts file")
	assert.Contains(t, hosts, w.ID(), "the worker's own name")
	assert.Contains(t, w.Output(t, "cat /etc/resolv.conf"), "search corp.test\n", "the domains of its lease")
	groups := strings.Fields(w.Output(t, "id -nG"))
	assert.Contains(t, groups, "docker", "a step has made the group")
	if w.Output(t, "getent group kvm || true") != "" {
		assert.Contains(t, groups, "kvm", "a package has made the group")
	}
	assert.Equal(t, "mayfly 640 ours", w.Output(t, "stat --printf '%U %a ' /etc/mayfly/file; cat /etc/mayfly/file"))
	assert.Contains(t, w.Output(t, "git lfs version"), "git-lfs/")
	services(t, w)
	assert.Equal(t, "C.UTF-8\n", w.Output(t, "printenv LANG"), "nothing in the image says otherwise")
}

// services has the user's own manager run something, also what is moved to it as podman
// moves its containers. In a worker that has booted it may come up after SSH does.
func services(t *testing.T, w Worker) {
	t.Helper()
	w.Output(t, "timeout 60 sh -c 'until systemctl --user is-system-running --wait; do sleep 0.2; done'")
	const service = "systemd-run --user --quiet --wait --pipe sh -c 'echo $(id -un) from a service'"
	assert.Equal(t, "mayfly from a service\n", w.Output(t, service))
	scope := w.Output(t, "systemd-run --user --quiet --scope cat /proc/self/cgroup")
	assert.Contains(t, scope, "/user@1000.service/")
	assert.Equal(t, "/run/user/1000\n", w.Output(t, `test -w "$XDG_RUNTIME_DIR" && echo "$XDG_RUNTIME_DIR"`))
	assert.Equal(t, "\n", w.Output(t, `sudo sh -c 'echo "$XDG_RUNTIME_DIR"'`), "root must not write there")
}
