package bhyve

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/backendtest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/foreigntool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/fakeguest"
)

func limit(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func silent(string, string) {}

func (f *freebsd) build(b *Backend, r image.Recipe) image.Golden {
	f.t.Helper()
	golden, err := b.Build(limit(f.t, 2*time.Minute), r, silent)
	require.NoError(f.t, err)
	return golden
}

func (f *freebsd) start(ctx context.Context, b *Backend, golden image.Golden, id string) (backendtest.Worker, error) {
	f.t.Helper()
	return backendtest.Start(ctx, f.t, b, golden, backend.Spec{
		ID: id, Dir: filepath.Join(f.options().WorkersDir, id), Size: backend.Size{CPUs: 3, Memory: 3 << 30},
	})
}

func (f *freebsd) started(b *Backend, golden image.Golden, id string) backendtest.Worker {
	f.t.Helper()
	w, err := f.start(limit(f.t, 2*time.Minute), b, golden, id)
	require.NoError(f.t, err)
	require.NoError(f.t, w.Ready(limit(f.t, time.Minute)))
	return w
}

// untilAsked is a context that ends when an address is looked up in a lease file
// of Kea's: while the first of its files, a pipe, is read.
func (f *freebsd) untilAsked(leases string) context.Context {
	pipe := leases + ".2"
	require.NoError(f.t, syscall.Mkfifo(pipe, 0o600))
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	f.t.Cleanup(func() { require.NoError(f.t, os.Remove(pipe)) })
	f.t.Cleanup(cancel)
	go func() {
		defer cancel()
		for ctx.Err() == nil {
			// This fails as long as nobody reads.
			if writer, err := os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
				cancel()
				writer.Close()
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return ctx
}

func TestFreeBSDWorker(t *testing.T) {
	f := newFreeBSD(t)
	b := New(f.options())
	r := f.recipe()
	r.Packages = []string{"bash"}
	golden := f.build(b, r)
	require.Equal(t, []string{foreigntool.GoldenName(golden.Digest)}, f.guests())
	images, err := os.ReadDir(f.path("vm/.img"))
	require.NoError(t, err)
	require.Empty(t, images, "what was imported is in the guest's disk now")

	machine := f.started(b, golden, "p-aaaaaaaa")
	require.Equal(t, "freebsd", machine.Machine.(backend.Foreign).OS())
	require.Equal(t, "p-aaaaaaaa\n", machine.Output(t, "hostname"))
	require.Equal(t, "hostname=p-aaaaaaaa\n", machine.Output(t, "cat /etc/rc.conf"))
	require.Regexp(t, "^kern.hostuuid=", machine.Output(t, "cat /run/sysctl"))
	require.Equal(t, "built\ninstall -y bash\n", machine.Output(t, "cat /etc/built /tmp/pkg"))
	conf, err := os.ReadFile(f.path("vm/p-aaaaaaaa/p-aaaaaaaa.conf"))
	require.NoError(t, err)
	mac := "network0_mac=" + macOf("p-aaaaaaaa")
	for _, want := range []string{"cpu=3", "memory=3072M", "on_restart=shutdown", mac, "mayfly=yes"} {
		key, value, _ := strings.Cut(want, "=")
		require.Contains(t, string(conf), key+`="`+value+"\"\n")
	}
}

// TestEverySourceOfAddresses has a stale lease of the same MAC before the right
// one, where the server writes such.
func TestEverySourceOfAddresses(t *testing.T) {
	f := newFreeBSD(t)
	defer f.fails("stale")()
	golden := f.build(New(f.options()), f.recipe())
	for i, kind := range []string{Kea, DHCPD, Dnsmasq, ARP} {
		t.Run(kind, func(t *testing.T) {
			options := f.options()
			options.Leases = kind
			files := map[string]string{Kea: "kea-leases4.csv", DHCPD: "dhcpd.leases", Dnsmasq: "dnsmasq.leases"}
			options.LeasesFile = f.path(files[kind])
			machine := f.started(New(options), golden, "p-"+strings.Repeat(string(rune('a'+i)), 8))
			require.NotEmpty(t, machine.Output(t, "hostname"))
		})
	}
	t.Run("none", func(t *testing.T) {
		defer f.fails("address")()
		options := f.options()
		_, err := f.start(f.untilAsked(options.LeasesFile), New(options), golden, "p-zzzzzzzz")
		require.ErrorContains(t, err, "no address is known for "+macOf("p-zzzzzzzz"))
		options.LeasesFile = f.path("no-leases")
		_, err = f.start(f.untilAsked(options.LeasesFile), New(options), golden, "p-yyyyyyyy")
		require.ErrorContains(t, err, options.LeasesFile)
	})
}

func TestGuestOfTheHostAsImage(t *testing.T) {
	f := newFreeBSD(t)
	disk := fakeguest.Disk{System: fakeguest.FreeBSD, User: "freebsd", Password: "secret"}
	require.NoError(t, disk.Make(f.path("vm/base/disk0")))
	f.write("vm/base/base.conf", "loader=\"uefi\"\nnetwork0_mac=\"58:9c:fc:00:00:01\"\n")
	require.NoError(t, exec.Command("vm", "snapshot", "base@runner").Run())

	options := f.options()
	options.Source = image.Source{Kind: image.VM, Location: "base@runner"}
	options.Password = "secret"
	b := New(options)
	r := f.recipe()
	r.Source = options.Source
	machine := f.started(b, f.build(b, r), "p-aaaaaaaa")
	require.Equal(t, "built\n", machine.Output(t, "cat /etc/built"))

	// A user's own guest that is called like a worker.
	require.NoError(t, exec.Command("vm", "clone", "base@runner", "p-bbbbbbbb").Run())
	found, err := b.Find(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, "p-aaaaaaaa", found[0].ID())

	r.Source.Location = "base"
	_, err = b.Build(t.Context(), r, silent)
	require.ErrorContains(t, err, `image.source "vm:base" names no snapshot`)
	for _, kind := range []string{image.Debootstrap, image.OCI} {
		_, err = b.Build(t.Context(), image.Recipe{Source: image.Source{Kind: kind}}, silent)
		require.ErrorContains(t, err, "image.source \""+kind+"\"")
	}
}

func TestWhatFailsSaysWhyAndLeavesNothing(t *testing.T) {
	f := newFreeBSD(t)
	b := New(f.options())
	failing := f.recipe()
	failing.Run = []string{"true", "echo the reason; exit 7"}
	_, err := b.Build(limit(t, time.Minute), failing, silent)
	for _, want := range []string{"step 2 of 2", "image.run[1]", "exit code 7", "the reason"} {
		require.ErrorContains(t, err, want)
	}
	require.Empty(t, f.guests())
	mend := f.fails("img")
	_, err = b.Build(limit(t, time.Minute), f.recipe(), silent)
	require.ErrorContains(t, err, "failed to fetch")
	mend()
	wrong := f.recipe()
	wrong.Source.SHA256 = strings.Repeat("0", 64)
	_, err = b.Build(limit(t, time.Minute), wrong, silent)
	require.ErrorContains(t, err, "SHA-256", "vm img checks nothing, so we do")
	require.Empty(t, f.guests())

	golden := f.build(b, f.recipe())
	name := foreigntool.GoldenName(golden.Digest)
	for what, want := range map[string]string{"start": "unable to find switch public", "clone": "error while cloning"} {
		t.Run(what, func(t *testing.T) {
			defer f.fails(what)()
			_, err := f.start(limit(t, time.Minute), b, golden, "p-aaaaaaaa")
			require.ErrorContains(t, err, want)
			require.NoError(t, b.Destroy(t.Context(), "p-aaaaaaaa"))
			require.Equal(t, []string{name}, f.guests())
		})
	}
	t.Run("the golden guest is gone", func(t *testing.T) {
		require.NoError(t, exec.Command("vm", "destroy", "-f", name).Run())
		_, err := f.start(limit(t, time.Minute), b, golden, "p-aaaaaaaa")
		require.ErrorContains(t, err, "is gone")
		require.NoDirExists(t, golden.Dir, "for the pool to have it built again")
		f.started(b, f.build(b, f.recipe()), "p-aaaaaaaa")
	})
}

// TestStuckDeviceAndLock has a device and a lock that stay after the guest, as
// old releases and crashes leave them.
func TestStuckDeviceAndLock(t *testing.T) {
	f := newFreeBSD(t)
	b := New(f.options())
	b.host.goneLimit = time.Second
	golden := f.build(b, f.recipe())
	f.started(b, golden, "p-aaaaaaaa")
	mendLock, mendDevice := f.fails("lock"), f.fails("vmm")
	require.NoError(t, b.Destroy(limit(t, time.Minute), "p-aaaaaaaa"))
	require.Equal(t, []string{foreigntool.GoldenName(golden.Digest)}, f.guests())
	devices, err := os.ReadDir(f.devices())
	require.NoError(t, err)
	require.Empty(t, devices)
	mendLock()
	mendDevice()

	t.Run("a lock of a crashed host", func(t *testing.T) {
		snapshot := foreigntool.GoldenName(golden.Digest) + "@golden"
		require.NoError(t, exec.Command("vm", "clone", snapshot, "p-bbbbbbbb").Run())
		f.write("vm/p-bbbbbbbb/run.lock", "host")
		require.NoError(t, b.Destroy(limit(t, time.Minute), "p-bbbbbbbb"))
		require.Equal(t, []string{foreigntool.GoldenName(golden.Digest)}, f.guests())
	})
}

// TestRulesOfSudoAreEnough runs everything through a sudo that lets nothing but
// what Check prints pass.
func TestRulesOfSudoAreEnough(t *testing.T) {
	f := newFreeBSD(t)
	options := f.options()
	options.Sudo = "sudo"
	b := New(options)
	b.host.goneLimit = time.Second
	f.write("kea-leases4.csv", header)
	f.write("sudoers", "\n")
	_, err := b.Build(limit(t, time.Minute), f.recipe(), silent)
	require.ErrorContains(t, err, "a password is required")

	var rules string
	for _, finding := range b.Check(t.Context()) {
		if finding.What == "sudo" {
			require.Equal(t, doctor.Missing, finding.Level)
			rules = finding.Mend
		}
	}
	f.write("sudoers", rules)
	for _, finding := range b.Check(t.Context()) {
		require.NotEqual(t, doctor.Missing, finding.Level, "%s", finding)
	}
	golden := f.build(b, f.recipe())
	f.started(b, golden, "p-aaaaaaaa")
	mendLock, mendDevice := f.fails("lock"), f.fails("vmm")
	require.NoError(t, b.Destroy(limit(t, time.Minute), "p-aaaaaaaa"))
	mendLock()
	mendDevice()

	out, err := exec.Command("sudo", "-n", path("vm"), "destroy", "-f", "somebody-elses").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "a password is required")
}

func TestCheck(t *testing.T) {
	f := newFreeBSD(t)
	options := f.options()
	options.Template, options.Leases, options.LeasesFile = "nothing", Dnsmasq, "/nowhere/leases"
	options.Source = image.Source{Kind: image.HTTPS, Location: "https://example.org/a.raw.xz"}
	f.write("rc.conf", "vm_dir=\"/vm\"\n")
	b := New(options)
	missing := map[string]string{}
	for _, finding := range b.Check(t.Context()) {
		if finding.Level == doctor.Missing {
			require.NotEmpty(t, finding.Mend, finding.What)
			missing[finding.What] = finding.Detail
		}
	}
	require.Contains(t, missing["vm_dir"], "ZFS only")
	require.Contains(t, missing["bhyve.leases"], "/nowhere/leases")

	f.write("rc.conf", "vm_dir=\"zfs:zroot/vm\"\n")
	for _, finding := range b.Check(t.Context()) {
		if finding.What == "bhyve.template" {
			require.Equal(t, doctor.Missing, finding.Level)
		}
	}
	options.Sudo = "doas"
	require.Contains(t, New(options).ruleText(t.Context()), "permit nopass")
}
