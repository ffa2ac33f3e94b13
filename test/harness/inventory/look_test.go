//go:build linux

package inventory

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m, sandbox.Directory(&home))) }

var home string

// orphan is the worker that the things of the test are named after.
const orphan = "invtest-cccccccc"

// fresh is a host on which there is nothing yet.
func fresh(t *testing.T) Host {
	t.Helper()
	sandbox.Need(t, "ip", "nft", "mount", "umount", "losetup", "sh", "sleep")
	dir, err := os.MkdirTemp(home, "")
	require.NoError(t, err)
	h := Host{
		StateDir: filepath.Join(dir, "state"), Temporary: filepath.Join(dir, "tmp"), Pools: []string{"invtest"},
		Plugin: func(program string) bool { return program == filepath.Join(dir, "plugin") },
	}
	for _, below := range []string{h.StateDir + "/pools/invtest/workers", h.StateDir + "/addresses", h.Temporary} {
		require.NoError(t, os.MkdirAll(below, 0o700))
	}
	return h
}

// makers make one orphan of each kind, as scripts of which $1 is the state directory,
// $2 that of temporary files, $3 that of the worker, and $4 its control group. The
// second script takes the orphan away.
var makers = map[Kind][2]string{
	Namespace:    {"ip netns add mfabcdecccccccc", "ip netns delete mfabcdecccccccc"},
	Link:         {"ip link add mfabcdecccccccc type veth peer name other", "ip link delete mfabcdecccccccc"},
	Table:        {"nft add table inet mayfly-zzzzz", "nft delete table inet mayfly-zzzzz"},
	Mount:        {"mkdir -p $3/root && mount -t tmpfs none $3/root", "umount $3/root && rm -r $3"},
	ControlGroup: {"mkdir $4", "rmdir $4"},
	LoopDevice: {"mkdir -p $3 && truncate -s 1M $3/disk && losetup -f $3/disk",
		"losetup -j $3/disk | cut -d: -f1 | xargs losetup -d && rm -r $3"},
	Forwarding: {"mkdir -p /run/mayfly/forwarding/$(stat -Lc %i /proc/self/ns/net) && " +
		"touch /run/mayfly/forwarding/$(stat -Lc %i /proc/self/ns/net)/eth0",
		"rm -r /run/mayfly/forwarding/$(stat -Lc %i /proc/self/ns/net)"},
	Temporary: {"mkdir $2/mayfly-socket-1", "rmdir $2/mayfly-socket-1"},
	Address:   {"echo invtest/" + orphan + " >$1/addresses/10.210.0.2", "rm $1/addresses/10.210.0.2"},
	User:      {"mkdir $1/users && echo invtest/" + orphan + " >$1/users/2103902208", "rm -r $1/users"},
	Reservation: {"mkdir -p $1/budget/held && touch $1/budget/held/" + orphan + ",1,1,1",
		"rm -r $1/budget"},
	Ticket: {"mkdir -p $1/budget/queue && touch $1/budget/queue/0000000000000000001-" + orphan,
		"rm -r $1/budget"},
	End: {"mkdir $1/pools/invtest/ended && touch $1/pools/invtest/ended/x.json", "rm -r $1/pools/invtest/ended"},
	Console: {"mkdir $1/pools/invtest/ended && touch $1/pools/invtest/ended/x.console",
		"rm -r $1/pools/invtest/ended"},
	Directory: {"mkdir $3", "rmdir $3"},
	Record:    {"mkdir $3 && touch $3/worker.json", "rm -r $3"},
	PoolFile:  {"mkdir -p $1/pools/other", "rmdir $1/pools/other"},
	Template:  {"mkdir -p $1/pools/other/templates/0a", "rm -r $1/pools/other"},
	Unknown:   {"touch $1/core", "rm $1/core"},
}

// pool is the pool of these tests, which is there.
var pool = map[Owner]Belongings{Pool("invtest"): {Must: []Kind{PoolFile}}}

func TestAnOrphanOfEachKindIsReported(t *testing.T) {
	h := fresh(t)
	group := filepath.Join(groupRoot(t), h.unitPrefix("invtest")+orphan+".scope")
	for kind, scripts := range makers {
		t.Run(string(kind), func(t *testing.T) {
			worker := filepath.Join(h.StateDir, "pools/invtest/workers", orphan)
			run := func(script string) {
				command := exec.Command("sh", "-ec", script, "sh", h.StateDir, h.Temporary, worker, group)
				out, err := command.CombinedOutput()
				require.NoError(t, err, "%s: %s", script, out)
			}
			t.Cleanup(func() {
				run(scripts[1])
				require.Eventually(t, func() bool { // the kernel takes its time over some
					things, err := Look(h)
					return err == nil && len(Compare(things, pool)) == 0
				}, time.Minute, 20*time.Millisecond, "it is gone")
			})
			run(scripts[0])
			require.Contains(t, strings.Join(compare(t, h), "\n"), "orphan: "+string(kind))
		})
	}
}

// Processes have tests of their own.
func TestEveryKindHasAMaker(t *testing.T) {
	source, err := os.ReadFile("compare.go")
	require.NoError(t, err)
	kinds := regexp.MustCompile(`(?m)^\t\w+ +Kind = "(.*)"$`).FindAllSubmatch(source, -1)
	require.Greater(t, len(kinds), 1)
	for _, kind := range kinds {
		if kind := Kind(kind[1]); kind != Process {
			require.Contains(t, makers, kind)
		}
	}
}

// The sandbox hides the namespaces that the machine's own pools have mounted.
func TestMountsThatAnotherHidesAreNotListed(t *testing.T) {
	h := fresh(t)
	run := func(script string) {
		out, err := exec.Command("sh", "-ec", script).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	run("ip netns add mfabcdecccccccc")
	t.Cleanup(func() { run("ip netns delete mfabcdecccccccc") })
	require.Contains(t, strings.Join(compare(t, h), "\n"), "orphan: "+string(Mount))
	run("mount -t tmpfs none /run/netns")
	t.Cleanup(func() { run("umount /run/netns") })
	require.Empty(t, compare(t, h))
}

// Other packages' tests run beside, with pools of the same names.
func TestGroupsAreKnownByTheirStateDirectory(t *testing.T) {
	h := fresh(t)
	require.NoError(t, os.Mkdir(filepath.Join(h.StateDir, "pools/try"), 0o700))
	for prefix, ours := range map[string]bool{
		h.unitPrefix("try"): true, Host{StateDir: home}.unitPrefix("invtest"): false,
	} {
		group := filepath.Join(groupRoot(t), prefix+orphan+".scope")
		require.NoError(t, os.Mkdir(group, 0o755))
		t.Cleanup(func() { require.NoError(t, os.Remove(group)) })
		things, err := seeGroups(h)
		require.NoError(t, err)
		require.Equal(t, ours, slices.Contains(things, Thing{ControlGroup, group, Worker(orphan)}), things)
	}
}

// groupRoot is where a control group can be made.
func groupRoot(t *testing.T) string {
	t.Helper()
	all, err := mounts()
	require.NoError(t, err)
	for _, m := range all {
		if m.kind == "cgroup2" {
			return m.point
		}
	}
	for _, m := range all {
		if m.kind == "cgroup" && !strings.Contains(m.point, "cpuset") {
			return m.point
		}
	}
	t.Fatal("no control groups are mounted")
	return ""
}

// A process that a job left names nothing of ours: it is where the job was.
func TestProcessesAreKnownByNameAndByPlace(t *testing.T) {
	h := fresh(t)
	worker := filepath.Join(h.StateDir, "pools/invtest/workers", orphan)
	require.NoError(t, os.Mkdir(worker, 0o700))
	named := exec.Command("sleep", "1000")
	named.Args[0] = "mayfly:" + worker
	placed := exec.Command("sleep", "1000")
	placed.Dir = worker
	lost := exec.Command("sleep", "1000")
	lost.Dir = filepath.Join(h.StateDir, "addresses")
	for _, c := range []*exec.Cmd{named, placed, lost} {
		require.NoError(t, c.Start())
		t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	}
	require.NoError(t, os.Remove(worker))
	require.Eventually(t, func() bool { // a child may not have come to its program yet
		found := strings.Join(compare(t, h), "\n")
		return strings.Count(found, "of worker cccccccc") == 2 && strings.Count(found, "of nobody") == 1
	}, time.Minute, 20*time.Millisecond)
}

func TestPluginProcessHoldsItsTemporaryFiles(t *testing.T) {
	h := fresh(t)
	held, err := os.Open(h.Temporary)
	require.NoError(t, err)
	require.NoError(t, held.Close())
	require.NoError(t, os.WriteFile(h.Temporary+"/held", nil, 0o600))
	file, err := os.Open(h.Temporary + "/held")
	require.NoError(t, err)
	defer file.Close()
	self, err := os.Readlink("/proc/self/exe")
	require.NoError(t, err)
	h.Plugin = func(program string) bool { return program == self }
	things, err := seeTemporary(h)
	require.NoError(t, err)
	require.Equal(t, []Thing{{Temporary, h.Temporary + "/held", Plugin(os.Getpid())}}, things)
}

func TestWorkersThingsAreTheirs(t *testing.T) {
	h := fresh(t)
	worker := filepath.Join(h.StateDir, "pools/invtest/workers", orphan)
	require.NoError(t, os.Mkdir(worker, 0o700))
	require.NoError(t, os.WriteFile(worker+"/worker.json", nil, 0o600))
	require.NoError(t, os.WriteFile(h.StateDir+"/addresses/10.210.0.2", []byte("invtest/"+orphan), 0o600))
	things, err := Look(h)
	require.NoError(t, err)
	require.Empty(t, Compare(things, map[Owner]Belongings{
		Pool("invtest"): {Must: []Kind{PoolFile}},
		Worker(orphan):  {Must: []Kind{Directory, Record, Address}},
	}))
}

func compare(t *testing.T, h Host) []string {
	t.Helper()
	things, err := Look(h)
	require.NoError(t, err)
	return Compare(things, pool)
}
