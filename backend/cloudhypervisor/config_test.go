//go:build linux

package cloudhypervisor

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/cloudhypervisor/api"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	fake "gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/fakecloudhypervisor"
)

var update = flag.Bool("update", false, "write the golden files anew")

func worker() machineSpec {
	return machineSpec{Vsock: "/w/run/agent", Spec: vmm.Spec{
		CPUs: 2, Memory: 5 << 30,
		Kernel: "/images/d/kernel", Initrd: "/images/d/initrd", Root: "root=/dev/vda",
		Disk: "/w/disk", Format: "raw", Console: "/w/console.log", State: "/w/state",
	}}
}

// specs are all kinds of machines.
func specs() map[string]machineSpec {
	overlay := worker()
	overlay.Format, overlay.Readable = "qcow2", []string{"/images/d"}
	prebuild := worker()
	prebuild.Seed, prebuild.KernelArguments = "/images/d/seed.iso", []string{"ds=nocloud"}
	template := worker()
	template.MemoryFile, template.MemoryUse, template.State = "/t/memory", vmm.Written, "/t/state"
	limited := worker()
	limited.Limits = Limits{DiskBandwidth: 200 << 20, DiskOperations: 5000, NetworkBandwidth: 100 << 20}
	laidOut := worker()
	laidOut.Layout = vmm.Layout{DiskQueues: 2, NetworkQueues: 2, OneSocket: true, Nesting: vmm.NestingOff}
	nested := laidOut
	nested.Layout.Nesting = vmm.NestingOn
	passthrough := laidOut
	passthrough.PCI = []string{"0000:41:00.0", "0000:41:00.1"}
	return map[string]machineSpec{
		"laid-out": laidOut, "nested": nested, "passthrough": passthrough,
		"reflink": worker(), "overlay": overlay, "prebuild": prebuild, "template": template, "limited": limited,
	}
}

func TestConfig(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the golden files are of amd64")
	}
	for name, spec := range specs() {
		t.Run(name, func(t *testing.T) { golden(t, name+".json", encode(t, spec.config())) })
	}
}

func encode(t *testing.T, value any) string {
	t.Helper()
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	require.NoError(t, encoder.Encode(value))
	return text.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// TestRequestsAreAsTheAPIDocumentHasThem is about every body that is sent.
func TestRequestsAreAsTheAPIDocumentHasThem(t *testing.T) {
	for name, spec := range specs() {
		require.NoError(t, fake.CheckBody("vm.create", []byte(encode(t, spec.config()))), name)
		wrong := bytes.Replace([]byte(encode(t, spec.config())), []byte(`"pvpanic"`), []byte(`"pvpannic"`), 1)
		require.ErrorContains(t, fake.CheckBody("vm.create", wrong), "unknown field `pvpannic`", name)
	}
	require.NoError(t, fake.CheckBody("vm.snapshot", []byte(encode(t, api.SnapshotConfig{DestinationURL: "file:///t/state"}))))
	restore := api.RestoreConfig{SourceURL: "file:///w/state", MemoryRestoreMode: api.Copy, Resume: true}
	require.NoError(t, fake.CheckBody("vm.restore", []byte(encode(t, restore))))
}

func TestAForkIsPlaced(t *testing.T) {
	saved, err := os.ReadFile(filepath.Join("testdata", "snapshot.json"))
	require.NoError(t, err)
	own := placement{Disk: "/w/disk", Console: "/w/console.log", Vsock: "/w/run/agent", Memory: "/t/memory", Rules: worker().rules()}
	placed, err := place(saved, own)
	require.NoError(t, err)
	var indented bytes.Buffer
	require.NoError(t, json.Indent(&indented, placed, "", "  "))
	golden(t, "placed.json", indented.String()+"\n")

	for what, broken := range map[string]string{
		"reading":        `{`,
		"no serial":      `{}`,
		`"root" among`:   `{"serial": {}, "vsock": {}, "disks": [{"id": "other"}], "net": [{"id": "net"}]}`,
		`"net" among`:    `{"serial": {}, "vsock": {}, "disks": [{"id": "root"}], "net": []}`,
		`"memory" among`: `{"serial": {}, "vsock": {}, "disks": [{"id": "root"}], "net": [{"id": "net"}], "memory": {"zones": []}}`,
		"configuration":  `[]`,
		"no vsock":       `{"serial": {}, "vsock": null}`,
	} {
		_, err := place([]byte(broken), own)
		require.ErrorContains(t, err, what, broken)
	}
}

// TestNoConfigurationIsReadWithoutEnd has one that a machine has made a sparse file of
// 1 TiB.
func TestNoConfigurationIsReadWithoutEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), snapshotConfig)
	require.NoError(t, os.WriteFile(path, []byte("{}"), 0o600))
	config, err := readConfig(path)
	require.NoError(t, err)
	require.Equal(t, "{}", string(config))
	require.NoError(t, os.Truncate(path, 1<<40))
	_, err = readConfig(path)
	require.ErrorContains(t, err, path+" has more than 1048576 bytes")
}

func TestTheLogsPathIsATag(t *testing.T) {
	tag := Driver{}.Traits().Tag
	tag.WorkersDir = "/var/lib/mayfly/pools/default/workers"
	id, ours := tag.ID(append([]string{"cloud-hypervisor"}, arguments(tag.Value("default-abcdefgh"))...))
	require.True(t, ours)
	require.Equal(t, "default-abcdefgh", id)
}
