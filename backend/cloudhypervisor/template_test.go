//go:build linux

package cloudhypervisor

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	fake "gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/fakecloudhypervisor"
)

// TestSuspendedForkGoesOn puts a fork away and brings it back with a backend
// without memory, as after a restart of the plugin, while its template is gone.
func TestSuspendedForkGoesOn(t *testing.T) {
	w := newWorld(t, "suspend")
	golden := w.opened(t)
	require.NoError(t, w.Prepare(t.Context(), golden, size(), nil, nil, quiet))
	s, err := w.start(t, golden, "aaaaaaaa")
	require.NoError(t, err)
	require.Equal(t, backend.Fork, s.How())
	require.NoError(t, os.Rename(w.options.TemplatesDir, w.options.TemplatesDir+"-away"))
	defer func() { require.NoError(t, os.Rename(w.options.TemplatesDir+"-away", w.options.TemplatesDir)) }()

	dir := s.spec.Dir
	file := filepath.Join(dir, "suspended.json")
	var note []byte
	for range 3 {
		old := s.Machine
		require.ErrorContains(t, w.Resumable(dir), "nothing was saved")
		require.NoError(t, w.Suspend(t.Context(), old.ID()))
		<-old.Done()
		w.Backend = w.again()
		require.NoError(t, w.Resumable(dir))
		note, err = os.ReadFile(file)
		require.NoError(t, err)
		s.Machine, err = w.Resume(t.Context(), backend.Spec{ID: old.ID(), Dir: dir, Lease: s.spec.Lease})
		require.NoError(t, err)
		require.Equal(t, backend.Fork, s.How())
		require.Equal(t, old.Address(), s.Address())
		require.NoError(t, s.ready(t.Context()))
		left, err := os.ReadDir(filepath.Join(dir, "state"))
		require.NoError(t, err)
		require.Empty(t, left, "what was saved is of the past now")
	}
	require.ErrorContains(t, w.Suspend(t.Context(), "suspend-unknown1"), "no machine of this process")

	another := bytes.ReplaceAll(note, []byte(strconv.Quote(w.driver.binary())), []byte(`"/another"`))
	require.NotEqual(t, note, another)
	require.NoError(t, os.WriteFile(file, another, 0o600))
	require.ErrorContains(t, w.Resumable(dir), "another program")
}

// TestBrokenTemplatesMeanClones comes last: it removes the template.
func TestBrokenTemplatesMeanClones(t *testing.T) {
	w := newWorld(t, "broken")
	golden := w.opened(t)
	require.NoError(t, w.Prepare(t.Context(), golden, size(), nil, nil, quiet))
	basis, err := template.NewBasis(golden, size(), kvm.KVM, w.driver.binary())
	require.NoError(t, err)
	basis.More = fmt.Sprintf(`{"disk_queues":%d,"one_socket":true,"nesting":"off"}`, size().CPUs)
	good, ok := (&template.Shelf{Dir: w.options.TemplatesDir}).Load(basis)
	require.True(t, ok)
	require.NoFileExists(t, filepath.Join(good.State(), "memory-ranges"), "the memory is in a file of its own")

	w.options.ShareMemory = false
	w.Backend = w.again()
	m, err := w.start(t, golden, "aaaaaaaa")
	require.NoError(t, err)
	require.Equal(t, backend.Fork, m.How())
	maps, err := exec.Command("sh", "-c", "cat /proc/*/maps 2>/dev/null | grep -F "+stateDir+" || true").Output()
	require.NoError(t, err)
	require.Contains(t, string(maps), filepath.Join(w.dir, "workers", m.ID(), "memory"))
	require.NotContains(t, string(maps), good.Memory(), "no page is shared")
	requireNoCapabilities(t, w, m.ID())

	behave(t, fake.Fails, "vm.restore")
	m, err = w.start(t, golden, "bbbbbbbb")
	require.NoError(t, err)
	require.Equal(t, backend.Clone, m.How())
	require.NoError(t, w.Destroy(t.Context(), m.ID()))
	require.ErrorContains(t, m.Err(), "Cloud Hypervisor")

	w.options.Fork = false
	w.Backend = w.again()
	require.NoError(t, w.Prepare(t.Context(), golden, size(), nil, nil, quiet))
	require.NoDirExists(t, good.Dir, "without forks nothing is kept for them")
}

// requireNoCapabilities also looks at QEMU behind the fake, which attaches
// to the TAP device without any.
func requireNoCapabilities(t *testing.T, w world, id string) {
	t.Helper()
	found, err := w.tag().Find(id)
	require.NoError(t, err)
	require.Len(t, found, 1)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", found[0].PID))
	require.NoError(t, err)
	for _, line := range []string{"CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n", "NoNewPrivs:\t1\n"} {
		require.Contains(t, string(status), line)
	}
}
