package pool_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/output"
)

// renewing is a host whose images, and the templates of them, are told from each other.
// Time begins in synctest at the first of January 2000, 00:00.
type renewing struct {
	*world
	t     *testing.T
	cache *cache.Cache

	mu        sync.Mutex
	templates map[string]bool   // of images, by digest
	of        map[string]string // the edition that a worker is of
	patient   map[string]bool   // what gave way: builds by edition, workers by id
	checked   []string          // commands
	scratch   []string          // editions that were built from scratch
	// fails says what becomes of a stage ("build", "start", "check", "prepare") with an
	// edition; nil is nothing.
	fails map[string]error
}

func newRenewing(t *testing.T) *renewing {
	return &renewing{
		world: newWorld(), t: t, cache: cache.New(t.TempDir()),
		templates: map[string]bool{}, of: map[string]string{}, patient: map[string]bool{}, fails: map[string]error{},
	}
}

// The first editions of a pool that is renewed once a day, and the time between them.
const (
	first  = "2000-01-01T00:00:00Z"
	second = "2000-01-02T00:00:00Z"
	third  = "2000-01-03T00:00:00Z"
	day    = 24 * time.Hour
)

// fresh is a pool that is renewed once a day.
func fresh() pool.Config {
	c := config
	c.Refresh = image.Refresh{Every: day}
	return c
}

// of is the recipe of an edition.
func of(edition string) image.Recipe {
	recipe := config.Recipe
	recipe.Edition = edition
	return recipe
}

// make puts an image into the cache that was used last so long ago.
func (r *renewing) make(recipe image.Recipe, ago time.Duration) {
	r.t.Helper()
	golden, err := r.cache.Build(r.t.Context(), recipe, buildDisk)
	require.NoError(r.t, err)
	used := time.Now().Add(-ago)
	require.NoError(r.t, os.Chtimes(golden.Dir, used, used))
}

func buildDisk(_ context.Context, dir string) (root string, err error) {
	return "", os.WriteFile(filepath.Join(dir, image.DiskFile), nil, 0o600)
}

func (r *renewing) fail(stage, edition string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fails[stage+" "+edition] = err
}

func (r *renewing) outcome(stage, edition string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fails[stage+" "+edition]
}

// there lists the editions that there are images of, or templates.
func (r *renewing) there() (images, templates []string) {
	r.t.Helper()
	all, err := r.cache.List()
	require.NoError(r.t, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, golden := range all {
		images = append(images, golden.Recipe.Edition)
		if r.templates[golden.Digest] {
			templates = append(templates, golden.Recipe.Edition)
		}
	}
	slices.Sort(images)
	slices.Sort(templates)
	return images, templates
}

// editions counts the workers of each edition that run.
func (r *renewing) editions(p *pool.Pool) map[string]int {
	counts := map[string]int{}
	for _, id := range idsIn(p, pool.Running) {
		counts[r.editionOf(id)]++
	}
	return counts
}

// look is what the host has noted: who gave way, what was checked, whose machines there are.
func (r *renewing) look() (patient map[string]bool, checked, machines []string) {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.patient), slices.Clone(r.checked), slices.Collect(maps.Keys(r.machines))
}

// editionOf is that of the image that a worker was made from.
func (r *renewing) editionOf(worker string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[worker]
}

type renewingBackend struct {
	worldBackend
	r *renewing
}

func (b renewingBackend) Build(ctx context.Context, recipe image.Recipe, p image.Progress) (image.Golden, error) {
	b.r.mu.Lock()
	b.r.patient[recipe.Edition] = recipe.GivesWay
	if recipe.FromScratch {
		b.r.scratch = append(b.r.scratch, recipe.Edition)
	}
	b.r.mu.Unlock()
	return b.r.cache.Build(ctx, recipe, func(ctx context.Context, dir string) (string, error) {
		if _, err := b.worldBackend.Build(ctx, recipe, p); err != nil {
			return "", err
		}
		if err := b.r.outcome("build", recipe.Edition); err != nil {
			return "", err
		}
		return buildDisk(ctx, dir)
	})
}

func (b renewingBackend) Start(
	ctx context.Context, golden image.Golden, spec backend.Spec,
) (backend.Machine, error) {
	_, there, err := b.r.cache.Get(golden.Digest)
	require.NoError(b.r.t, err)
	b.r.mu.Lock()
	forked := b.r.templates[golden.Digest]
	if of, stocked := b.r.of[spec.ID]; stocked && of != golden.Recipe.Edition || !there {
		panic("a worker of two images, or of one that is gone")
	}
	b.r.of[spec.ID], b.r.patient[spec.ID] = golden.Recipe.Edition, spec.GivesWay
	b.r.mu.Unlock()
	m, err := b.worldBackend.Start(ctx, golden, spec)
	if err == nil {
		err = b.r.outcome("start", golden.Recipe.Edition)
	}
	if forked {
		return m, err
	}
	return clone{m}, err
}

func (b renewingBackend) Prepare(
	ctx context.Context, golden image.Golden, _ backend.Size, beside []string, _ <-chan struct{}, _ image.Progress,
) error {
	b.r.mu.Lock()
	for digest := range b.r.templates {
		if digest != golden.Digest && !slices.Contains(beside, digest) {
			delete(b.r.templates, digest)
		}
	}
	there := b.r.templates[golden.Digest]
	b.r.mu.Unlock()
	if there {
		return nil
	}
	if err := b.meet(ctx, "prepare", golden.Recipe.Edition); err != nil {
		return err
	}
	if err := b.r.outcome("prepare", golden.Recipe.Edition); err != nil {
		return err
	}
	b.r.mu.Lock()
	defer b.r.mu.Unlock()
	b.r.templates[golden.Digest] = true
	return nil
}

func (b renewingBackend) Stockable(_ context.Context, golden image.Golden, _ backend.Size) bool {
	b.r.mu.Lock()
	defer b.r.mu.Unlock()
	return b.r.templates[golden.Digest]
}

func (b renewingBackend) Stock(ctx context.Context, golden image.Golden, spec backend.Spec) error {
	b.r.mu.Lock()
	b.r.of[spec.ID] = golden.Recipe.Edition
	b.r.mu.Unlock()
	return b.worldBackend.Stock(ctx, golden, spec)
}

type renewingAccess struct {
	worldAccess
	r *renewing
}

func (a renewingAccess) Run(
	_ context.Context, _ netip.AddrPort, identity guest.Identity, key pool.Key, command string,
) error {
	if key != pool.Key("key of "+identity.Hostname) || identity.HostKeyPublic == "" || identity.User != "runner" {
		panic("not as a job would")
	}
	a.r.mu.Lock()
	defer a.r.mu.Unlock()
	a.r.checked = append(a.r.checked, command)
	return a.r.fails["check "+a.r.of[identity.Hostname]]
}

// Editions and Remove are those of pool.Images. What is used there follows from machines
// and templates, as records and templates tell a real one.
func (r *renewing) Editions(recipe image.Recipe) (found []image.Golden, err error) {
	all, err := r.cache.List()
	for _, golden := range all {
		if golden.Recipe.Series() == recipe.Series() {
			found = append(found, golden)
		}
	}
	slices.SortFunc(found, func(a, b image.Golden) int { return strings.Compare(b.Recipe.Edition, a.Recipe.Edition) })
	return found, err
}

func (r *renewing) Remove(which func(image.Golden, time.Time) bool) (removed []string, err error) {
	unused, err := r.cache.Unused(r.used, which)
	for _, one := range unused {
		gone, err := one.Remove()
		require.NoError(r.t, err)
		if gone {
			removed = append(removed, one.What)
		}
	}
	return removed, err
}

func (r *renewing) used() (map[string]bool, error) {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	used := maps.Clone(r.templates)
	for id := range r.machines {
		used[of(r.of[id]).Digest()] = true
	}
	return used, nil
}

// open opens a pool on the host.
func (r *renewing) open(t *testing.T, c pool.Config, records *store.Store) (*pool.Pool, *output.Buffer) {
	t.Helper()
	log := new(output.Buffer)
	parts := r.parts(records)
	parts.Backend, parts.Access = renewingBackend{worldBackend{r.world}, r}, renewingAccess{worldAccess{r.world}, r}
	parts.Images = r
	parts.Log = slog.New(slog.NewTextHandler(log, nil))
	p := pool.New(c, parts)
	require.NoError(t, p.Open(t.Context()))
	t.Cleanup(func() { closePool(t, r.world, p, records) })
	return p, log
}

func served(t *testing.T, records *store.Store) store.Served {
	t.Helper()
	served, known, err := records.Served()
	require.NoError(t, err)
	require.True(t, known)
	return served
}

func TestAnImageIsRenewedBesideTheWorkersThatRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, records := newRenewing(t), newStore(t)
		c := fresh()
		c.Check = []string{"git --version", "true"}
		r.on("build", takes(10*time.Minute))
		r.on("ready", takes(time.Minute-time.Second))
		r.on("prepare", takes(2*time.Minute))
		p, log := r.open(t, c, records)
		grow(t, p, 2)
		pass(time.Hour)
		require.Equal(t, map[string]int{first: 2}, r.editions(p))
		require.Equal(t, of(first).Digest(), served(t, records).ImageDigest)
		patient, checked, _ := r.look()
		require.False(t, patient[first], "somebody waits for it")
		require.Empty(t, checked, "there is nothing else to serve")

		pass(23*time.Hour + 5*time.Minute) // while it is built
		grow(t, p, 1)
		pass(5*time.Minute + 30*time.Second) // while it is tried
		require.Contains(t, log.String(), "renewed image is tried with a worker")
		grow(t, p, 1)
		pass(2 * time.Minute) // while its template is made
		images, templates := r.there()
		require.Equal(t, []string{first, second}, images)
		require.Equal(t, []string{first}, templates, "workers are forked from it meanwhile")
		grow(t, p, 1)
		settle()
		require.Len(t, idsIn(p, pool.Creating), 1)
		pass(time.Minute)
		require.Equal(t, map[string]int{first: 5}, r.editions(p))
		require.Contains(t, log.String(), "golden image is renewed")
		patient, checked, _ = r.look()
		require.True(t, patient[second])
		require.Equal(t, c.Check, checked)
		require.Len(t, p.Workers(), 5, "the runner never sees the canary")

		_, templates = r.there()
		require.Equal(t, []string{first, second}, templates, "its workers may still be begun")
		grow(t, p, 2)
		pass(time.Minute)
		require.Equal(t, map[string]int{first: 5, second: 2}, r.editions(p), "old ones live on")
		patient, _, _ = r.look()
		for _, id := range idsIn(p, pool.Running) {
			require.False(t, patient[id])
			record, err := records.Load(id)
			require.NoError(t, err)
			require.Equal(t, of(r.editionOf(id)).Digest(), record.ImageDigest)
		}

		p.Shrink(idsIn(p, pool.Running)[:5])
		settle()
		require.Equal(t, map[string]int{second: 2}, r.editions(p))
		images, templates = r.there()
		require.Equal(t, []string{second}, images, "the last worker was the last that used it")
		require.Equal(t, []string{second}, templates)
	})
}

// TestNoWorkerIsMissedWhileImagesAreRenewed plays a runner that keeps idle workers ready,
// and gives jobs to the oldest of those that are there beside them.
func TestNoWorkerIsMissedWhileImagesAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle, busy = 3, 4
		r, records := newRenewing(t), newStore(t)
		c := fresh()
		c.Refresh.Every, c.Spares = 20*time.Minute, 2
		r.on("build", takes(5*time.Minute))
		r.on("ready", takes(2*time.Second))
		r.on("prepare", takes(time.Minute))
		p, log := r.open(t, c, records)
		jobs, done, least := map[string]time.Time{}, 0, idle
		for began := time.Now(); time.Since(began) < 70*time.Minute; pass(2 * time.Second) {
			var ready []string
			there := 0
			for _, w := range p.Workers() {
				_, taken := jobs[w.ID]
				switch {
				case w.State == pool.Deleted && taken:
					t.Fatalf("the worker of a job has ended: %s", w.Reason)
				case w.State == pool.Running && !taken:
					ready = append(ready, w.ID)
					there++
				case w.State == pool.Creating && !taken:
					there++
				}
			}
			if time.Since(began) > 10*time.Minute {
				least = min(least, len(ready))
			}
			for id, until := range jobs {
				if time.Now().After(until) {
					require.NoError(t, p.Heartbeat(id))
					p.Shrink([]string{id})
					delete(jobs, id)
					done++
				}
			}
			for len(ready) > idle && len(jobs) < busy {
				jobs[ready[0]] = time.Now().Add(time.Minute)
				ready = ready[1:]
				there--
			}
			if want := idle + busy - len(jobs) - there; want > 0 {
				grow(t, p, want)
			}
		}
		require.Equal(t, idle, least)
		require.Greater(t, done, 200)
		require.Equal(t, 3, strings.Count(log.String(), "golden image is renewed"))
		require.NotContains(t, log.String(), "level=ERROR")
		require.NotContains(t, log.String(), "level=WARN")
		images, templates := r.there()
		require.Equal(t, []string{"2000-01-01T01:00:00Z"}, images)
		require.Equal(t, images, templates)
		require.Equal(t, []string{images[0]}, slices.Collect(maps.Keys(r.editions(p))))
	})
}

func TestARenewalThatFailsLeavesTheOldImage(t *testing.T) {
	broken := errors.New("no mirror")
	for name, test := range map[string]struct {
		stage  string
		err    error
		wants  string
		remove bool // the new image
	}{
		"a step that fails":          {"build", broken, "building image " + of(second).Digest() + ": no mirror", false},
		"a canary that fails":        {"start", guest.Fault(errors.New("kernel panic")), "kernel panic", true},
		"a canary of a broken host":  {"start", broken, "no mirror", false},
		"a check that fails":         {"check", &guest.ExitError{Code: 1}, "image.check[0]: exit code 1", true},
		"a check without a worker":   {"check", errors.New("no route"), "image.check[0]: no route", false},
		"a template that fails":      {"prepare", broken, "making its template: no mirror", false},
		"warm steps that fail in it": {"prepare", guest.Fault(broken), "making its template: no mirror", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, records := newRenewing(t), newStore(t)
				c := fresh()
				c.Check, c.Keep = []string{"true"}, 30*day
				r.fail(test.stage, second, test.err)
				p, log := r.open(t, c, records)
				grow(t, p, 1)
				pass(day + time.Second)
				require.Equal(t, 1, strings.Count(log.String(), "renewing the golden image failed"))
				require.Contains(t, log.String(), "again_in=5m0s")
				s := served(t, records)
				require.Equal(t, of(first).Digest(), s.ImageDigest)
				require.Equal(t, second, s.Failed.Edition)
				require.Equal(t, 1, s.Failed.Failures)
				require.Contains(t, s.Failed.Reason, test.wants)
				images, templates := r.there()
				require.Equal(t, !test.remove && test.stage != "build", slices.Contains(images, second), images)
				require.Equal(t, []string{first}, templates)
				grow(t, p, 1)
				settle()
				require.Equal(t, map[string]int{first: 2}, r.editions(p))
				_, _, machines := r.look()
				require.Len(t, machines, 2, "nothing of the canary is left")

				pass(5 * time.Minute)
				require.Equal(t, 2, strings.Count(log.String(), "renewing the golden image failed"))
				pass(9 * time.Minute)
				require.Equal(t, 2, strings.Count(log.String(), "renewing the golden image failed"), "later each time")
				pass(12 * time.Hour)
				require.Equal(t, 8, served(t, records).Failed.Failures)
				require.Contains(t, served(t, records).Failed.String(), "failed 8 times in a row: ")

				r.fail(test.stage, second, nil)
				pass(5 * time.Hour)
				require.Equal(t, of(second).Digest(), served(t, records).ImageDigest)
				require.Nil(t, served(t, records).Failed)
				grow(t, p, 1)
				settle()
				require.Equal(t, map[string]int{first: 2, second: 1}, r.editions(p))
				pass(day)
				require.Equal(t, of(third).Digest(), served(t, records).ImageDigest, "and so on")
				require.Equal(t, test.remove, slices.Contains(r.scratch, second), "its layers may be at fault")
				require.NotContains(t, r.scratch, third)
			})
		})
	}
}

func TestACanaryThatNeverGetsReadyIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, records := newRenewing(t), newStore(t)
		p, log := r.open(t, fresh(), records)
		grow(t, p, 1)
		settle()
		r.on("ready", hang)
		pass(day + 30*time.Second)
		patient, _, machines := r.look()
		canary := slices.DeleteFunc(machines, func(id string) bool {
			return slices.Contains(idsIn(p, pool.Running), id)
		})
		require.Len(t, canary, 1)
		record, err := records.Load(canary[0])
		require.NoError(t, err)
		require.Equal(t, string(pool.Canary), record.State)
		require.True(t, patient[canary[0]])
		pass(4 * time.Minute) // it may take longer than other workers
		require.Contains(t, served(t, records).Failed.Reason, "was not ready within the start timeout of 4m0s")
		require.Contains(t, log.String(), "removed golden image "+of(second).Digest(), "another one is made")
		ended, err := records.Ended()
		require.NoError(t, err)
		require.Len(t, ended, 1, "what its console said is kept")
		r.on("ready", nil)
		grow(t, p, 1)
		settle()
		require.Equal(t, map[string]int{first: 2}, r.editions(p))
	})
}

// A plugin that was away begins with what is there, and nobody waits for a build.
func TestAPoolBeginsWithAnOlderImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, records := newRenewing(t), newStore(t)
		for _, edition := range []string{"", "1999-12-30T00:00:00Z", "1999-12-31T00:00:00Z"} {
			r.make(of(edition), 0)
		}
		r.on("build", takes(10*time.Minute))
		p, _ := r.open(t, fresh(), records)
		grow(t, p, 1)
		settle()
		require.Equal(t, map[string]int{"1999-12-31T00:00:00Z": 1}, r.editions(p))
		pass(15 * time.Minute)
		grow(t, p, 1)
		settle()
		require.Equal(t, map[string]int{"1999-12-31T00:00:00Z": 1, first: 1}, r.editions(p))
	})
}

func TestAnImageThatWasNotTriedYetIsNotServedAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, records := newRenewing(t), newStore(t)
		r.fail("check", second, errors.New("exit code 1"))
		c := fresh()
		c.Check = []string{"true"}
		for _, edition := range []string{first, second} {
			r.make(of(edition), 0)
		}
		require.NoError(t, records.SaveServed(store.Served{ImageDigest: of(first).Digest(), Edition: first}))
		time.Sleep(day)
		p, _ := r.open(t, c, records)
		grow(t, p, 1)
		settle()
		require.Equal(t, map[string]int{first: 1}, r.editions(p))
		require.NotNil(t, served(t, records).Failed)
	})
}

func TestWhatWasServedMayBeForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRenewing(t)
		dir := t.TempDir()
		records, err := store.Open(dir)
		require.NoError(t, err)
		for _, edition := range []string{first, second} {
			r.make(of(edition), 0)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, store.ServedFile), []byte("{"), 0o600))
		p, log := r.open(t, fresh(), records)
		grow(t, p, 1)
		settle()
		require.Equal(t, map[string]int{second: 1}, r.editions(p))
		require.Contains(t, log.String(), "the pool begins with the newest image")
		require.Equal(t, of(second).Digest(), served(t, records).ImageDigest)
	})
}

func TestImagesStayForAsLongAsTheyAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, records := newRenewing(t), newStore(t)
		count := func() int { images, _ := r.there(); return len(images) }
		other := image.Recipe{User: "somebody"}
		r.make(other, 100*day)
		c := config
		c.Keep = 3 * day
		_, _ = r.open(t, c, records)
		settle()
		require.Equal(t, 2, count(), "its pool may be about to start")
		pass(20 * time.Minute)
		require.Equal(t, 1, count())
		_, known, err := records.Served()
		require.NoError(t, err)
		require.False(t, known, "it is not renewed")
		r.make(other, 0)
		pass(3*day - time.Hour)
		require.Equal(t, 2, count())
		pass(2 * time.Hour)
		require.Equal(t, 1, count())
	})
}

func TestSparesAreOfTheImageThatIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, records := newRenewing(t), newStore(t)
		c := fresh()
		c.Spares, c.Refresh.Every = 2, time.Hour
		p, _ := r.open(t, c, records)
		settle()
		old := r.inStock()
		require.Len(t, old, 2)
		pass(time.Hour)
		const renewed = "2000-01-01T01:00:00Z"
		stock := r.inStock()
		require.Len(t, stock, 2)
		for _, id := range stock {
			require.Equal(t, renewed, r.editionOf(id))
		}
		images, _ := r.there()
		require.Equal(t, []string{renewed}, images)
		grow(t, p, 2)
		settle()
		require.Equal(t, map[string]int{renewed: 2}, r.editions(p))
	})
}

// One that waits for room may do so for long.
func TestAWorkerThatWaitsIsMadeFromTheRenewedImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, records := newRenewing(t), newStore(t)
		c := fresh()
		c.ConcurrentStarts = 1
		p, _ := r.open(t, c, records)
		settle()
		r.on("ready", takes(50*time.Second))
		pass(day - 40*time.Second)
		grow(t, p, 2) // the second is to begin at 00:00:10, and the renewal takes 50 s
		pass(2 * time.Minute)
		require.Equal(t, map[string]int{first: 2}, r.editions(p))

		pass(day - 2*time.Minute - 5*time.Second)
		grow(t, p, 4) // one after the other, the last two after the renewal
		pass(5 * time.Minute)
		require.Equal(t, map[string]int{first: 2, second: 2, third: 2}, r.editions(p))
	})
}

func TestAnImageThatIsSparedIsRenewedAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, records := newRenewing(t), newStore(t)
		r.fail("start", first, guest.Fault(errors.New("kernel panic")))
		p, log := r.open(t, fresh(), records)
		grow(t, p, 6)
		pass(day - time.Minute)
		_, spared, err := records.Breaker()
		require.NoError(t, err)
		require.True(t, spared)
		pass(2 * time.Minute)
		_, spared, err = records.Breaker()
		require.NoError(t, err)
		require.False(t, spared, log.String())
		grow(t, p, 1)
		settle()
		require.NotZero(t, r.editions(p)[second])
	})
}

func TestAPoolThatClosesGivesTheRenewalUp(t *testing.T) {
	for _, stage := range []string{"build", "ready", "prepare"} {
		t.Run(stage, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, records := newRenewing(t), newStore(t)
				p, log := r.open(t, fresh(), records)
				pass(day - time.Minute)
				r.on(stage, hang)
				pass(time.Minute + 10*time.Second)
				began := time.Now()
				closePool(t, r.world, p, records)
				require.Zero(t, time.Since(began))
				require.NotContains(t, log.String(), "level=ERROR")
				require.Nil(t, served(t, records).Failed)
			})
		})
	}
}

// Another pool, or `image build`, may have made what this one is about to serve.
func TestAnEditionThatIsDueIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, records := newRenewing(t), newStore(t)
		c := fresh()
		c.Keep = 0
		p, _ := r.open(t, c, records)
		grow(t, p, 1)
		settle()
		r.make(of(second), time.Hour)
		r.make(of(""), time.Hour) // of before image.refresh was set
		pass(day / 2)
		images, _ := r.there()
		require.Equal(t, []string{first, second}, images)
	})
}

// A host may begin its life with a clock of years ahead, which is set right later.
func TestAnImageOfAClockThatWasAheadIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, records := newRenewing(t), newStore(t)
		const later = "2031-01-01T00:00:00Z"
		r.make(of(later), 0)
		r.on("ready", takes(time.Second)) // the renewal's canary too
		p, _ := r.open(t, fresh(), records)
		grow(t, p, 1)
		pass(2 * time.Second)
		require.Equal(t, map[string]int{later: 1}, r.editions(p), "nobody waits")
		grow(t, p, 1)
		pass(2 * time.Second)
		require.Equal(t, map[string]int{later: 1, first: 1}, r.editions(p))
	})
}

func TestARenewalIsDoneWithoutATemplateWhereThereIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, records := newRenewing(t), newStore(t)
		broken := errors.New("this host cannot fork")
		r.fail("prepare", first, broken)
		r.fail("prepare", second, broken)
		p, log := r.open(t, fresh(), records)
		grow(t, p, 1)
		pass(day + time.Hour)
		require.NotContains(t, log.String(), "renewing the golden image failed")
		require.Contains(t, log.String(), "workers of the renewed image are clones, as before")
		grow(t, p, 1)
		settle()
		require.Equal(t, map[string]int{first: 1, second: 1}, r.editions(p))
	})
}
