//go:build linux

package vmm

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
)

func TestLayoutFollowsFromWhatThereIs(t *testing.T) {
	size := backend.Size{CPUs: 4}
	for name, c := range map[string]struct {
		abilities
		nested bool
		want   Layout
	}{
		"emulation": {abilities{accel: kvm.TCG}, false, Layout{DiskQueues: 4, NetworkQueues: 4, OneSocket: true}},
		"emulation on a host that has all": {abilities{accel: kvm.TCG, vhost: true, nests: true}, true,
			Layout{DiskQueues: 4, NetworkQueues: 4, OneSocket: true}},
		"generations": {abilities{accel: kvm.TCG, generation: true}, false,
			Layout{DiskQueues: 4, NetworkQueues: 4, OneSocket: true, Generation: true}},
		"KVM": {abilities{accel: kvm.KVM}, false,
			Layout{DiskQueues: 4, NetworkQueues: 4, OneSocket: true, Nesting: NestingOff}},
		"KVM that moves packets": {abilities{accel: kvm.KVM, vhost: true}, false,
			Layout{DiskQueues: 4, NetworkQueues: 4, VHost: true, OneSocket: true, Nesting: NestingOff}},
		"KVM that nests, unasked": {abilities{accel: kvm.KVM, nests: true}, false,
			Layout{DiskQueues: 4, NetworkQueues: 4, OneSocket: true, Nesting: NestingOff}},
		"KVM that nests": {abilities{accel: kvm.KVM, nests: true}, true,
			Layout{DiskQueues: 4, NetworkQueues: 4, OneSocket: true, Nesting: NestingOn}},
		"KVM that does not": {abilities{accel: kvm.KVM}, true,
			Layout{DiskQueues: 4, NetworkQueues: 4, OneSocket: true, Nesting: NestingOff}},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.layout(size, 4, c.nested)
			require.Equal(t, c.want, got)
			require.True(t, got.valid(size.CPUs))
		})
	}
}

// What has no layout in a file is as it was before there were any.
func TestALayoutThatIsNotThereIsTheEarlierOne(t *testing.T) {
	var spec Spec
	require.NoError(t, json.Unmarshal([]byte(`{"CPUs": 2}`), &spec))
	require.Equal(t, Layout{}, spec.Layout)
	text, err := json.Marshal(spec)
	require.NoError(t, err)
	require.NotContains(t, string(text), "layout")
}

// TestTemplatesDependOnTheLayout has a template of other devices made anew.
func TestTemplatesDependOnTheLayout(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.prepare(t)
	_, ok := b.template(b.golden, b.size, kvm.TCG)
	require.True(t, ok)
	b.options.Queues = 2
	_, ok = b.template(b.golden, b.size, kvm.TCG)
	require.False(t, ok)
}

// TestDevicesOfTheHostAreOneWorkersAtATime has two pools that name the same ones.
func TestDevicesOfTheHostAreOneWorkersAtATime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.options.PCI = []string{"0000:41:00.0", "0000:41:00.1"}
	release, err := b.borrow(t.Context())
	require.NoError(t, err)
	other := b.again()
	other.options.PCI = []string{"0000:41:00.1"}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = other.borrow(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded, "it did not wait")
	release()
	again, err := other.borrow(t.Context())
	require.NoError(t, err)
	again()
}

// TestMachinesWithDevicesAreNeverSaved looks at what the pool asks a backend for.
func TestMachinesWithDevicesAreNeverSaved(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.prepare(t)
	options := b.options
	options.PCI = []string{"0000:41:00.0"}
	machines := New(b.driver, options)
	fixed := machines.Fixed()
	_, suspends := fixed.(backend.Suspender)
	_, stocks := fixed.(backend.Stocker)
	require.False(t, suspends || stocks)
	require.NoError(t, fixed.(backend.Forker).Prepare(t.Context(), b.golden, b.size, nil, nil, func(string, string) {}))
	_, ok := b.template(b.golden, b.size, kvm.TCG)
	require.False(t, ok, "the template of before is removed")
	findings := machines.checkDevices()
	require.Len(t, findings, 2)
	require.Contains(t, findings[0].Detail, "no such device")
	require.Contains(t, findings[1].Detail, "every worker boots")
	_, err := machines.Start(t.Context(), b.golden, b.spec(t, "gpuu"))
	require.ErrorContains(t, err, "giving the machine the device 0000:41:00.0: this host has no such device")
}
