//go:build linux

package vmm

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
)

// savedSpec is what a machine was that can be resumed.
var savedSpec = Spec{
	Accel: kvm.TCG, CPUs: 1, Memory: 1 << 28, Disk: "/d/disk", Format: "raw", Console: "/d/console.log",
	State: "/d/state", Incoming: true, Network: true,
}

func TestSuspendedMachinesThatAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Spec){
		"of an earlier version": func(s *Spec) { s.Disk = "" },
		"acceleration":          func(s *Spec) { s.Accel = "kvm,kernel-irqchip=off" },
		"format":                func(s *Spec) { s.Format = "vmdk" },
		"memory in a file":      func(s *Spec) { s.MemoryFile = "/etc/shadow" },
		"use of memory":         func(s *Spec) { s.MemoryUse = Written },
		"seed":                  func(s *Spec) { s.Seed = "/etc/shadow" },
		"not saved":             func(s *Spec) { s.Incoming = false },
		"no processors":         func(s *Spec) { s.CPUs = 0 },
		"no memory":             func(s *Spec) { s.Memory = -1 },
		"a device of the host":  func(s *Spec) { s.PCI = []string{"0000:41:00.0"} },
		"queues of the disk":    func(s *Spec) { s.Layout.DiskQueues = 2 },
		"queues of the network": func(s *Spec) { s.Layout.NetworkQueues = -1 },
		"nesting":               func(s *Spec) { s.Layout.Nesting = "on,x=y" },
	} {
		spec := savedSpec
		change(&spec)
		text, err := json.Marshal(suspended{Spec: spec})
		require.NoError(t, err)
		_, err = decodeSuspended(text)
		require.Error(t, err, name)
	}
}

func FuzzSuspended(f *testing.F) {
	text, err := json.Marshal(suspended{How: "fork", Spec: savedSpec, Files: map[string]int64{diskFile: 1, stateFile: 2}})
	require.NoError(f, err)
	f.Add(text)
	f.Add(text[:len(text)-2])
	f.Add([]byte(`{"spec":{"Disk":"../../x","Format":"qcow2","Incoming":true}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		saved, err := decodeSuspended(text)
		if err != nil {
			return
		}
		spec := saved.Spec.in("/dir")
		require.Equal(t, "/dir/disk", spec.Disk)
		require.Equal(t, "/dir/state", spec.State)
		require.Empty(t, spec.MemoryFile)
		require.Empty(t, spec.Seed)
		require.Empty(t, spec.PCI)
		require.True(t, spec.Layout.valid(spec.CPUs))
	})
}
