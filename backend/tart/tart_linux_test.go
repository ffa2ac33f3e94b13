package tart

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/backendtest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/foreigntool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest/remote"
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

func (m *mac) build(b *Backend, r image.Recipe) image.Golden {
	m.t.Helper()
	golden, err := b.Build(limit(m.t, 2*time.Minute), r, silent)
	require.NoError(m.t, err)
	return golden
}

func (m *mac) start(ctx context.Context, b *Backend, golden image.Golden, id string) (backendtest.Worker, error) {
	m.t.Helper()
	return backendtest.Start(ctx, m.t, b, golden, backend.Spec{
		ID: id, Dir: filepath.Join(m.options().WorkersDir, id), Size: backend.Size{CPUs: 4, Memory: 8 << 30},
	})
}

func (m *mac) started(b *Backend, golden image.Golden, id string) backendtest.Worker {
	m.t.Helper()
	w, err := m.start(limit(m.t, 2*time.Minute), b, golden, id)
	require.NoError(m.t, err)
	require.NoError(m.t, w.Ready(limit(m.t, time.Minute)))
	return w
}

// untilAskedTwice is a context that ends when Tart has twice had no address for
// a machine: the first time is over then, for those who were told.
func (m *mac) untilAskedTwice() context.Context {
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	m.t.Cleanup(cancel)
	go func() {
		defer cancel()
		for ctx.Err() == nil {
			if info, err := os.Stat(filepath.Join(m.dir, "fail", "ip")); err == nil && info.Size() > 1 {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return ctx
}

type hardwareOf struct {
	CPUCount   int
	MemorySize int64
	MACAddress string
	Serial     string
	DiskGB     int
}

func (m *mac) config(name string) (c hardwareOf) {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.home(), "vms", name, "config.json"))
	require.NoError(m.t, err)
	require.NoError(m.t, json.Unmarshal(text, &c))
	return c
}

// arguments are those that `tart run` was last given for a machine.
func (m *mac) arguments(name string) string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.home(), "vms", name, "arguments"))
	require.NoError(m.t, err)
	return strings.ReplaceAll(string(text), "\n", " ")
}

func TestMacWorker(t *testing.T) {
	m := newMac(t)
	shared := t.TempDir()
	options := m.options()
	options.Settings.Dirs = []string{shared + ",tag=builds"}
	options.Mounts = []remote.Mount{{Tag: "builds", Dir: "/Users/admin/builds"}}
	b := New(options)
	r := recipe(macImage)
	r.Packages, r.Disk = []string{"jq"}, 64<<30
	golden := m.build(b, r)
	require.Equal(t, []string{foreigntool.GoldenName(r.Digest())}, m.machines(),
		"the prebuild's own machine is the golden one")

	one := m.started(b, golden, "p-aaaaaaaa")
	require.Equal(t, "darwin", one.Machine.(backend.Foreign).OS())
	require.Equal(t, "p-aaaaaaaa\n", one.Output(t, "hostname"))
	require.Equal(t, "p-aaaaaaaa\n", one.Output(t, "cat /var/db/LocalHostName"))
	require.Equal(t, "built\ninstall jq\nbuilds /Users/admin/builds\n",
		one.Output(t, "cat /etc/built /tmp/brew /run/mounts"))
	require.Regexp(t, `^1[0-9]{9}\n$`, one.Output(t, "cat /run/clock"))

	other := m.started(b, golden, "p-bbbbbbbb")
	require.NotEqual(t, one.Address(), other.Address())
	a, z := m.config("p-aaaaaaaa"), m.config("p-bbbbbbbb")
	require.NotEqual(t, a.MACAddress, z.MACAddress)
	require.NotEqual(t, a.Serial, z.Serial)
	require.Equal(t, 69, a.DiskGB, "64 GiB, in units of 10^9 bytes")
	require.EqualValues(t, 8<<30, a.MemorySize)
	run := strings.Join(runArguments("p-aaaaaaaa", options.Settings, false), " ")
	require.Equal(t, run+" ", m.arguments("p-aaaaaaaa"))
}

// TestThirdMacGuestWaits also has a second plugin process, as far as locks can
// tell.
func TestThirdMacGuestWaits(t *testing.T) {
	m := newMac(t)
	b, second := New(m.options()), New(m.options())
	golden := m.build(b, recipe(macImage))
	m.started(b, golden, "p-aaaaaaaa")
	m.started(second, golden, "p-bbbbbbbb")
	_, err := m.start(limit(t, 500*time.Millisecond), b, golden, "p-cccccccc")
	require.ErrorContains(t, err, "host.max_workers")
	require.ErrorIs(t, err, context.DeadlineExceeded)

	freed := make(chan error, 1)
	time.AfterFunc(300*time.Millisecond, func() { freed <- second.Destroy(context.Background(), "p-bbbbbbbb") })
	m.started(b, golden, "p-cccccccc")
	require.NoError(t, <-freed)
}

func TestLinuxWorkersDoNotCount(t *testing.T) {
	m := newMac(t)
	options := m.options()
	options.Settings.Nested = true
	options.Settings.Network, options.Settings.Bridged, options.Resolver = Bridged, []string{"en0"}, "arp"
	b := New(options)
	golden := m.build(b, recipe(linuxImage))
	for _, id := range []string{"p-aaaaaaaa", "p-bbbbbbbb", "p-cccccccc"} {
		machine := m.started(b, golden, id)
		require.Equal(t, "linux", machine.Machine.(backend.Foreign).OS())
		require.Equal(t, id+"\n", machine.Output(t, "hostname"))
	}
	require.Equal(t, "the image's", m.config("p-aaaaaaaa").Serial)
}

func TestSuspendedImage(t *testing.T) {
	m := newMac(t)
	options := m.options()
	options.Suspendable = true
	b := New(options)
	golden := m.build(b, recipe(macImage))
	name := foreigntool.GoldenName(golden.Digest)
	require.FileExists(t, filepath.Join(m.home(), "vms", name, "state.vzvmsave"))

	one := m.started(b, golden, "p-aaaaaaaa")
	require.Equal(t, "p-aaaaaaaa\n", one.Output(t, "hostname"))
	require.Contains(t, m.arguments("p-aaaaaaaa"), "--suspendable")
	require.Equal(t, m.config(name).MACAddress, m.config("p-aaaaaaaa").MACAddress,
		"another MAC would lose the saved state")
	_, err := m.start(limit(t, 500*time.Millisecond), b, golden, "p-bbbbbbbb")
	require.ErrorContains(t, err, "1 guests of its kind")
	require.NoError(t, b.Destroy(t.Context(), "p-aaaaaaaa"))
	m.started(b, golden, "p-cccccccc")
}

func TestSettingsThatTheImageDoesNotHave(t *testing.T) {
	m := newMac(t)
	options := m.options()
	options.Suspendable, options.Settings.Nested = true, true
	for reference, want := range map[string]string{macImage: "tart.nested", linuxImage: "tart.suspendable"} {
		_, err := New(options).Build(t.Context(), recipe(reference), silent)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, reference)
	}
	for _, kind := range []string{image.Debootstrap, image.HTTPS, image.Local} {
		_, err := New(options).Build(t.Context(), image.Recipe{Source: image.Source{Kind: kind}}, silent)
		require.ErrorContains(t, err, "image.source \""+kind+"\"")
	}
	require.Empty(t, m.machines())
}

func TestPullPolicy(t *testing.T) {
	m := newMac(t)
	options := m.options()
	var pulls int
	count := func(stage, _ string) {
		if stage == "pull" {
			pulls++
		}
	}
	version := func(text string) {
		m.publish(macImage, fakeguest.Darwin)
		path := filepath.Join(m.published(macImage), "disk.img", "etc", "fake-version")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	build := func() string {
		golden, err := New(options).Build(limit(t, 2*time.Minute), recipe(macImage), count)
		require.NoError(t, err)
		note, err := New(options).images.Note(golden)
		require.NoError(t, err)
		return note.Keys.Key
	}
	version("1")
	first := build()
	require.Positive(t, pulls)
	version("2")
	pulls = 0
	require.Equal(t, first, build(), "the image is there")
	require.Zero(t, pulls)

	options.Registry.Always = true
	second := build()
	require.NotEqual(t, first, second, "the registry has another")
	require.Equal(t, second, build(), "the registry has the same")
	require.Positive(t, pulls)

	mend := m.fails("pull")
	_, err := New(options).Build(limit(t, time.Minute), recipe(macImage), silent)
	require.ErrorContains(t, err, "the registry answered 404")
	mend()
	require.NoError(t, os.WriteFile(filepath.Join(m.published(macImage), "insecure"), nil, 0o600))
	_, err = New(options).Build(limit(t, time.Minute), recipe(macImage), silent)
	require.ErrorContains(t, err, "not trusted")
	options.Registry.Insecure = true
	require.NotEmpty(t, build())
}

func TestMachineOfTheHostAsImage(t *testing.T) {
	m := newMac(t)
	m.make(filepath.Join(m.home(), "vms", "base"), fakeguest.Darwin)
	require.NoError(t, os.WriteFile(filepath.Join(m.home(), "vms", "base", "state.vzvmsave"), nil, 0o600))
	r := recipe("")
	r.Source = image.Source{Kind: image.VM, Location: "base"}
	b := New(m.options())
	golden := m.build(b, r)
	machine := m.started(b, golden, "p-aaaaaaaa")
	require.Equal(t, "built\n", machine.Output(t, "cat /etc/built"))
	found, err := b.Find(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 1, "neither the image nor the user's own machine is a worker")

	r.Source.Location = "nothing"
	_, err = b.Build(limit(t, time.Minute), r, silent)
	require.ErrorIs(t, err, errNotExist)
}

func TestWhatFailsSaysWhyAndLeavesNothing(t *testing.T) {
	m := newMac(t)
	b := New(m.options())

	failing := recipe(macImage)
	failing.Run = []string{"true", "echo the reason; exit 7"}
	_, err := b.Build(limit(t, time.Minute), failing, silent)
	for _, want := range []string{"step 2 of 2", "image.run[1]", "exit code 7", "the reason"} {
		require.ErrorContains(t, err, want)
	}
	require.Empty(t, m.machines())
	entries, err := os.ReadDir(m.options().WorkersDir)
	require.NoError(t, err)
	require.Empty(t, entries)

	golden := m.build(b, recipe(macImage))
	name := foreigntool.GoldenName(golden.Digest)
	for what, want := range map[string]string{
		"ip": "no IP address found", "run": "Softnet failed", "clone": "no space left",
	} {
		t.Run(what, func(t *testing.T) {
			defer m.fails(what)()
			_, err := m.start(m.untilAskedTwice(), b, golden, "p-aaaaaaaa")
			require.ErrorContains(t, err, want)
			require.NoError(t, b.Destroy(t.Context(), "p-aaaaaaaa"))
			require.Equal(t, []string{name}, m.machines())
		})
	}
	t.Run("delete", func(t *testing.T) {
		m.started(b, golden, "p-aaaaaaaa")
		mend := m.fails("delete")
		require.ErrorContains(t, b.Destroy(t.Context(), "p-aaaaaaaa"), "permission denied")
		mend()
		require.NoError(t, b.Destroy(t.Context(), "p-aaaaaaaa"))
		require.Equal(t, []string{name}, m.machines())
	})
	t.Run("list, once and again", func(t *testing.T) {
		defer m.fails("list")()
		_, err := b.Find(t.Context())
		require.ErrorContains(t, err, "tart list --source local --format json")
	})
	t.Run("the golden machine is gone", func(t *testing.T) {
		require.NoError(t, exec.Command("rm", "-r", filepath.Join(m.home(), "vms", name)).Run())
		_, err := m.start(limit(t, time.Minute), b, golden, "p-aaaaaaaa")
		require.ErrorContains(t, err, "is gone")
		require.NoDirExists(t, golden.Dir, "for the pool to have it built again")
		m.started(b, m.build(b, recipe(macImage)), "p-aaaaaaaa")
	})
}

// TestWorkerThatDoesNotTakeItsIdentity has a user that the image does not have.
func TestWorkerThatDoesNotTakeItsIdentity(t *testing.T) {
	m := newMac(t)
	b := New(m.options())
	golden := m.build(b, recipe(macImage))
	golden.Recipe.User = "stranger"
	_, err := m.start(limit(t, time.Minute), b, golden, "p-aaaaaaaa")
	require.ErrorContains(t, err, "giving p-aaaaaaaa its identity")
}

func TestAnotherUserIsMadeInTheImage(t *testing.T) {
	m := newMac(t)
	b := New(m.options())
	r := recipe(macImage)
	r.User = "builder"
	machine := m.started(b, m.build(b, r), "p-aaaaaaaa")
	require.Equal(t, "builder", machine.Identity.User)
	require.Equal(t, "0\n", machine.Output(t, "sudo -n id -u"))
}

func TestCheck(t *testing.T) {
	m := newMac(t)
	options := m.options()
	options.Settings.Network = Softnet
	options.Settings.Dirs = []string{"/nowhere/a:ro,tag=a"}
	options.Settings.Disks = []string{"/nowhere/b.img:ro"}
	missing := map[string]string{}
	for _, f := range New(options).Check(t.Context()) {
		if f.Level == doctor.Missing {
			require.NotEmpty(t, f.Mend, f.What)
			missing[f.What] = f.Detail
		}
	}
	require.Contains(t, missing, "tart.dirs[0]")
	require.Contains(t, missing, "tart.disks[0]")
	require.Contains(t, missing, "softnet")
	require.Len(t, missing, 3)

	options.Home = "/" + strings.Repeat("a", 100)
	options.Source = image.Source{Kind: image.Debootstrap}
	b := New(options)
	b.tool.binary = "/nowhere/tart"
	var whats []string
	for _, f := range b.Check(t.Context()) {
		if f.Level == doctor.Missing {
			whats = append(whats, f.What)
		}
	}
	require.Subset(t, whats, []string{"tart", "tart.home", "image.source"})
}

func TestTheLimitOfMacOSIsToldApart(t *testing.T) {
	err := explain(exit(t, 1), "The number of VMs exceeds the system limit (other running VMs: a, b)")
	require.ErrorIs(t, err, errLimit)
	require.ErrorIs(t, explain(exit(t, 2), `the specified VM "a" does not exist`), errNotExist)
	require.ErrorIs(t, explain(exit(t, 2), `VM "a" is not running`), errNotRunning)
	require.NotErrorIs(t, explain(exit(t, 2), `VM "a" is already running!`), errNotRunning)
	require.NotErrorIs(t, explain(exit(t, 64), `Error: Unknown option '--x'`), errNotExist)
}

func exit(t *testing.T, code int) error {
	t.Helper()
	err := exec.Command("sh", "-c", "exit "+string(rune('0'+code%10))).Run()
	if code == 64 {
		err = exec.Command("sh", "-c", "exit 64").Run()
	}
	var failed *exec.ExitError
	require.True(t, errors.As(err, &failed))
	return err
}
