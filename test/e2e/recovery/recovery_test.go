//go:build linux

package recovery

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/qemu"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/user"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/kvm"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/vmm/template"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host/budget"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/output"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/wiring"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// long bounds what takes a moment on a quiet machine.
const long = 5 * time.Minute

func TestMain(m *testing.M) {
	os.Exit(sandbox.Main(m, func() func() { return func() {} }))
}

// unbuilt is a backend that has no image, and looks for nothing on this host: no
// machine starts in these tests.
type unbuilt struct{ *vmm.Backend }

func (unbuilt) Check(context.Context) []doctor.Finding { return nil }

func (unbuilt) Build(ctx context.Context, _ image.Recipe, _ image.Progress) (image.Golden, error) {
	<-ctx.Done()
	return image.Golden{}, context.Cause(ctx)
}

// world is a host with one pool, on which a plugin process was killed.
type world struct {
	*host.Host
	config config.Config
	parts  host.Assembly
	log    *journal
}

func newWorld(t *testing.T) *world {
	sandbox.Need(t, "nft")
	// Only where QEMU lies counts, and so a short run does not leave this out.
	binary := qemu.Driver{}.Traits().Binary
	if _, err := programs.Find(binary); err != nil {
		need.Other(t, "needs "+binary)
	}
	dir, err := os.MkdirTemp(testrun.Directory(), "")
	require.NoError(t, err)
	w := &world{Host: wiring.Host(), log: &journal{}}
	w.config, err = config.Default().With(func(c *config.Config) { c.Backend, c.StateDir = config.BackendQEMU, dir })
	require.NoError(t, err)
	for i, b := range w.Backends {
		if b.Name != config.BackendQEMU {
			continue
		}
		w.Backends[i].Build = func(c config.Config, log *slog.Logger) (host.Assembly, error) {
			a, err := b.Build(c, log)
			if real, ok := a.Backend.(*vmm.Backend); ok {
				a.Backend = unbuilt{real}
			}
			return a, err
		}
		w.parts, err = w.Backends[i].Build(w.config, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
	}
	require.NoError(t, w.parts.Network.Open(t.Context()))
	_, err = store.Open(w.config.PoolDir())
	require.NoError(t, err)
	return w
}

// journal keeps what is logged, by line.
type journal struct{ output.Buffer }

// has tells whether a line about a worker holds certain words.
func (j *journal) has(worker, words string) bool {
	for line := range strings.Lines(j.String()) {
		if strings.Contains(line, "worker="+worker) && strings.Contains(line, words) {
			return true
		}
	}
	return false
}

// left is what a killed process has left of one worker.
type left struct {
	cell
	id      string
	process *exec.Cmd
	ended   chan struct{}
}

// Each cell is made in one pool for each kind of record, and the pool is opened
// once on all of them. A short run makes those alone of which some are kept.
func TestEveryCell(t *testing.T) {
	for _, record := range columns[0].values {
		if testing.Short() && record.name != "suspended" {
			continue
		}
		t.Run(record.name, func(t *testing.T) {
			w := newWorld(t)
			all := w.leaveAll(t, record.name)
			ctx, cancel := context.WithTimeout(t.Context(), long)
			defer cancel()
			served, err := w.OpenPool(ctx, w.config, "root", long, slog.New(slog.NewTextHandler(w.log, nil)))
			require.NoError(t, err)
			for _, l := range all {
				w.check(t, l)
			}
			w.checkWorkers(t, served, all)
			require.NoError(t, served.Close(ctx))
			_, err = w.Sweep(ctx, w.config, host.Sweeping{Remove: true, Suspended: true}, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			w.checkNothing(t, all)
		})
	}
}

// leaveAll makes every cell with that record. Namespaces are made side by side: the
// kernel waits while it makes one.
func (w *world) leaveAll(t *testing.T, record string) []*left {
	t.Helper()
	var all []*left
	var making errgroup.Group
	making.SetLimit(4)
	for _, c := range cells(record) {
		if !canBeMade(c) {
			continue
		}
		l := &left{cell: c, id: workerid.New(w.config.Pool)}
		all = append(all, l)
		making.Go(func() error {
			if err := w.leave(l); err != nil {
				return fmt.Errorf("making %s: %w", l, err)
			}
			return nil
		})
	}
	t.Cleanup(func() {
		for _, l := range all {
			if l.process != nil {
				_ = l.process.Process.Kill()
				<-l.ended
			}
		}
	})
	require.NoError(t, making.Wait())
	// What watches over the pool's rules ends with its process.
	require.NoError(t, w.parts.Network.Close(t.Context()))
	return all
}

func (w *world) dir(l *left) string { return filepath.Join(w.config.PoolDir(), store.WorkersDir, l.id) }

// leave makes one cell: of each column its value.
func (w *world) leave(l *left) error {
	if err := w.leaveLease(l); err != nil {
		return err
	}
	if l.cell[Record] != "no directory" {
		if err := w.leaveFiles(l); err != nil {
			return err
		}
	}
	if err := w.leaveClaims(l); err != nil {
		return err
	}
	return w.leaveProcess(l)
}

// leaveClaims has the worker hold a little of the budget, and a user.
func (w *world) leaveClaims(l *left) error {
	if l.cell[Claims] == "none" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	if fits, err := w.budget().ReserveSpare(ctx, l.id, pool.Cost{Memory: 1 << 20, CPUs: 1}); err != nil || !fits {
		return fmt.Errorf("it fits: %t: %w", fits, err)
	}
	if l.cell[Claims] == "budget" {
		return nil
	}
	_, err := w.users().Take(ctx, w.config.Pool+"/"+l.id)
	return err
}

func (w *world) budget() *budget.Budget {
	return budget.New(budget.Options{
		Dir: w.config.BudgetDir(), Pool: w.config.Pool, Limits: budget.Limits{Memory: 1 << 50, CPUs: 1 << 20},
	})
}

func (w *world) users() *user.Book { return user.New(filepath.Join(w.config.StateDir, "users")) }

func (w *world) leaveLease(l *left) error {
	if l.cell[Lease] == "none" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	if _, err := w.parts.Network.Acquire(ctx, l.id); err != nil {
		return err
	}
	switch l.cell[Lease] {
	case "parked":
		return w.parts.Network.(interface {
			Park(context.Context, string) error
		}).Park(ctx, l.id)
	case "half":
		link, err := linkOf(l.id)
		if err == nil {
			err = netlink.LinkDel(link)
		}
		return err
	}
	return nil
}

// linkOf is a worker's link to the host, whose name ends as the worker's id.
func linkOf(id string) (netlink.Link, error) {
	links, err := netlinkdump.LinkList()
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		if strings.HasSuffix(link.Attrs().Name, key(id)) {
			return link, nil
		}
	}
	return nil, fmt.Errorf("no link of %s", id)
}

// key is the end of an id, and of the names of what its lease has in the kernel.
func key(id string) string { return id[len(id)-workerid.KeyLength:] }

func (w *world) leaveFiles(l *left) error {
	dir := w.dir(l)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	files := make(map[string][]byte)
	if text := recordOf(l); text != nil {
		files[store.RecordFile] = text
	}
	if l.cell[Disk] == "there" {
		files["disk"] = make([]byte, 4096)
	}
	if l.cell[Saved] != "none" {
		saved, err := suspendedOf(dir)
		if err != nil {
			return err
		}
		files["suspended.json"], files["state"] = saved, make([]byte, 8192)
	}
	if l.cell[Saved] == "torn" {
		files["state"] = files["state"][:4096]
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// recordOf is the text of the record, if there is one.
func recordOf(l *left) []byte {
	record := store.Record{
		Version: store.RecordVersion, ID: l.id, State: l.cell[Record], User: "root", PrivateKey: "(key)",
		Address: netip.MustParseAddrPort("198.18.0.2:22"), CreatedAt: time.Now(),
	}
	switch l.cell[Record] {
	case "no directory", "none":
		return nil
	case "newer":
		record.Version, record.State = store.RecordVersion+1, string(pool.Suspended)
	case "corrupt":
		record.State = string(pool.Suspended)
	}
	text, err := json.Marshal(record)
	if err != nil {
		panic(err) // it holds strings, numbers and times
	}
	if l.cell[Record] == "corrupt" {
		return text[:len(text)/2]
	}
	return text
}

// suspendedOf is what the backend writes of a machine that this host can resume, with
// a disk of 4096 and a state of 8192 bytes.
func suspendedOf(dir string) ([]byte, error) {
	platform, err := template.NewPlatform(kvm.TCG, qemu.Driver{}.Traits().Binary)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"how": backend.Clone, "platform": platform, "files": map[string]int64{"disk": 4096, "state": 8192},
		"spec": vmm.Spec{
			Accel: kvm.TCG, CPUs: 1, Memory: 1 << 28, Disk: filepath.Join(dir, "disk"), Format: "raw",
			State: filepath.Join(dir, "state"), Incoming: true, Network: true,
		},
	})
}

// nobody is a user that no process of ours runs as.
const nobody = 65534

// leaveProcess plays QEMU: it is found by its arguments, and does nothing.
func (w *world) leaveProcess(l *left) error {
	if l.cell[Process] == "dead" {
		return nil
	}
	tag := qemu.Driver{}.Traits().Tag
	tag.WorkersDir = filepath.Join(w.config.PoolDir(), store.WorkersDir)
	l.process = exec.Command("sh", "-c", "read line", "qemu", tag.Option, tag.Value(l.id))
	if l.cell[Process] == "another's" {
		l.process.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if _, err := l.process.StdinPipe(); err != nil { // it reads for ever
		return err
	}
	if err := l.process.Start(); err != nil {
		l.process = nil
		return err
	}
	l.ended = make(chan struct{})
	go func() {
		defer close(l.ended)
		_ = l.process.Wait()
	}()
	return nil
}

// check looks at what is left of one worker after the pool was opened.
func (w *world) check(t *testing.T, l *left) {
	t.Helper()
	r := rules[decide(l.cell)]
	require.True(t, w.log.has(l.id, r.says), "%s: the log does not say %q", l, r.says)
	if r.kept {
		require.FileExists(t, filepath.Join(w.dir(l), "state"), "%s", l)
	} else {
		require.Eventually(t, func() bool {
			_, err := os.Lstat(w.dir(l))
			return os.IsNotExist(err)
		}, long, 10*time.Millisecond, "%s: its directory is left", l)
	}
	_, err := linkOf(l.id)
	require.ErrorContains(t, err, "no link", "%s", l)
	switch l.cell[Process] {
	case "alive":
		select {
		case <-l.ended:
		case <-time.After(long):
			t.Fatalf("%s: its machine runs on", l)
		}
	case "another's":
		require.NoError(t, l.process.Process.Signal(syscall.Signal(0)), "%s: a process that is not ours was ended", l)
	}
}

// checkWorkers compares the pool's workers, and who holds what, with those that the
// table keeps.
func (w *world) checkWorkers(t *testing.T, served *host.Pool, all []*left) {
	t.Helper()
	kept, addresses, budgets := []string{}, []string{}, []string{}
	for _, l := range all {
		if !rules[decide(l.cell)].kept {
			continue
		}
		kept = append(kept, l.id)
		if l.cell[Lease] != "none" {
			addresses = append(addresses, w.config.Pool+"/"+l.id)
		}
		if l.cell[Claims] != "none" {
			budgets = append(budgets, l.id)
		}
	}
	shown := []string{}
	for _, worker := range served.Workers() {
		require.Equal(t, pool.Suspended, worker.State, worker.ID)
		shown = append(shown, worker.ID)
	}
	require.ElementsMatch(t, kept, shown)
	owners, err := w.AddressOwners(w.config)
	require.NoError(t, err)
	require.ElementsMatch(t, addresses, owners)
	w.checkClaims(t, budgets)
}

// checkClaims looks at who holds a part of the budget. Nobody has a user.
func (w *world) checkClaims(t *testing.T, budgets []string) {
	t.Helper()
	held, err := w.budget().Find()
	require.NoError(t, err)
	require.ElementsMatch(t, budgets, held)
	users, err := w.users().Owners()
	require.NoError(t, err)
	require.Empty(t, users)
}

// checkNothing looks at the host after the suspended workers were removed too.
func (w *world) checkNothing(t *testing.T, all []*left) {
	t.Helper()
	found, err := w.Orphans(t.Context(), w.config)
	require.NoError(t, err)
	require.Empty(t, found)
	owners, err := w.AddressOwners(w.config)
	require.NoError(t, err)
	require.Empty(t, owners)
	w.checkClaims(t, nil)
	entries, err := os.ReadDir("/run/netns")
	require.NoError(t, err)
	for _, l := range all {
		require.NoDirExists(t, w.dir(l))
		for _, entry := range entries {
			require.False(t, strings.HasSuffix(entry.Name(), key(l.id)), "%s: its namespace is left", l)
		}
	}
}
