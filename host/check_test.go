package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func TestMissingHasALineForEachWithItsMend(t *testing.T) {
	require.NoError(t, Missing([]doctor.Finding{{Level: doctor.OK}, {Level: doctor.Warning}}))
	err := Missing([]doctor.Finding{
		{Level: doctor.Missing, What: "a", Detail: "not found", Mend: "install a"},
		{Level: doctor.OK, What: "b"},
		{Level: doctor.Missing, What: "c", Detail: "not found", Mend: "install c"},
	})
	require.EqualError(t, err, "missing  a: not found\n         mend: install a\n"+
		"missing  c: not found\n         mend: install c")
}

func TestStateDirThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	finding := newWorld(t).checkStateDir(in(filepath.Join(file, "state")))
	require.Equal(t, doctor.Missing, finding.Level)
	require.NotEmpty(t, finding.Mend)
}

func TestStateDirStaysAsItWas(t *testing.T) {
	dir := t.TempDir()
	require.NotEqual(t, doctor.Missing, newWorld(t).checkStateDir(in(dir)).Level)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestStateDirIsNotMadeByLookingAtIt(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "lib", "mayfly")
	finding := newWorld(t).checkStateDir(in(dir))
	require.NotEqual(t, doctor.Missing, finding.Level)
	require.Contains(t, finding.Detail, dir+" will be made; "+parent+" is writable")
	entries, err := os.ReadDir(parent)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestDirectoriesAreClosedToOthers(t *testing.T) {
	state := filepath.Join(shortDir(t), "state")
	c, err := config.Default().With(func(c *config.Config) { c.StateDir = state })
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(c.ImagesDir(), 0o755)) // as an older version did
	require.NoError(t, os.Chmod(state, 0o755))
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	_, err = makeDirectories(c, log)
	require.NoError(t, err)
	requireMode(t, 0o700, state)
	requireMode(t, 0o700, c.ImagesDir())
	requireMode(t, 0o700, filepath.Dir(c.PoolDir()))
	require.Contains(t, said.String(), "is closed to them now")

	said.Reset()
	c.StateDir = filepath.Join(state, "new")
	_, err = makeDirectories(c, log)
	require.NoError(t, err)
	requireMode(t, 0o700, c.StateDir)
	require.Empty(t, said.String())
}

// Somebody may have put it on a file system that others use as well.
func TestStateDirectoryOfOthersIsLeftOpen(t *testing.T) {
	for reason, share := range map[string]func(dir string) error{
		"others may use files there": func(dir string) error { return os.Mkdir(filepath.Join(dir, "files"), 0o755) },
		"others may write there":     func(dir string) error { return os.Chmod(dir, 0o775) },
	} {
		state := filepath.Join(shortDir(t), "state")
		require.NoError(t, errors.Join(os.Mkdir(state, 0o755), os.Chmod(state, 0o755), share(state)))
		info, err := os.Stat(state)
		require.NoError(t, err)
		c, err := config.Default().With(func(c *config.Config) { c.StateDir = state })
		require.NoError(t, err)
		var said bytes.Buffer
		_, err = makeDirectories(c, slog.New(slog.NewTextHandler(&said, nil)))
		require.NoError(t, err)
		requireMode(t, info.Mode().Perm(), state)
		requireMode(t, 0o700, filepath.Dir(c.PoolDir()))
		require.Contains(t, said.String(), reason)
	}
}

func TestHostThatLacksTheBackendIsLeftAsItWas(t *testing.T) {
	w := newWorld(t)
	w.assembly.Backend = picky{lacks: "a tool"}
	c := w.config()
	c.StateDir = filepath.Join(w.stateDir, "deep", "state")
	_, err := w.choose(t.Context(), c, silent)
	require.ErrorContains(t, err, "a tool")
	entries, err := os.ReadDir(w.stateDir)
	require.NoError(t, err)
	require.Empty(t, entries)

	require.NoError(t, os.MkdirAll(c.ImagesDir(), 0o700)) // somebody's
	_, err = w.choose(t.Context(), c, silent)
	require.Error(t, err)
	require.DirExists(t, c.ImagesDir())
	require.NoDirExists(t, filepath.Dir(c.PoolDir()))
}

func requireMode(t *testing.T, want os.FileMode, dir string) {
	t.Helper()
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, want, info.Mode().Perm(), dir)
}

// busy is a backend whose check comes to no end, and says then that all is
// missing, as a program does that was killed.
type busy struct{ *synthetic.Backend }

func (busy) Check(ctx context.Context) []doctor.Finding {
	<-ctx.Done()
	return []doctor.Finding{{Level: doctor.Missing, What: "all", Detail: "signal: killed"}}
}

func TestHostTooBusyToBeCheckedLacksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		candidates := []Assembly{{Name: "busy", Backend: busy{}}}
		a, err := firstThatWorks(t.Context(), candidates, silent)
		require.NoError(t, err)
		require.Equal(t, "busy", a.Name)

		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = firstThatWorks(cancelled, candidates, silent)
		require.ErrorIs(t, err, context.Canceled)
	})
}

// picky is a backend for which a host lacks something, or nothing.
type picky struct {
	*synthetic.Backend
	lacks string
}

func (p picky) Check(context.Context) []doctor.Finding {
	if p.lacks == "" {
		return []doctor.Finding{{Level: doctor.OK, What: "all"}}
	}
	return []doctor.Finding{{Level: doctor.Missing, What: p.lacks, Mend: "install it"}}
}

func TestDoctorLooksAtTheBackendThatWouldBeTaken(t *testing.T) {
	first, second := Assembly{Name: "first", Backend: picky{lacks: "a"}}, Assembly{Name: "second", Backend: picky{}}
	a, findings := checkAll(t.Context(), []Assembly{first, second})
	require.Equal(t, "second", a.Name)
	require.NoError(t, Missing(findings))
	require.Equal(t, "second is the first of first, second for which this host lacks nothing", findings[0].Detail)

	a, findings = checkAll(t.Context(), []Assembly{first, {Name: "third", Backend: picky{lacks: "c"}}})
	require.Equal(t, "first", a.Name, "where none works, the best is the one to mend")
	require.ErrorContains(t, Missing(findings), "a: ")

	a, findings = checkAll(t.Context(), []Assembly{second})
	require.Equal(t, "second", a.Name)
	require.Len(t, findings, 1, "there was no choice")
}

func TestUserThatNoGuestWouldTakeIsRefusedBeforeTheBuild(t *testing.T) {
	w := newWorld(t)
	for _, user := range []string{"Builder", "-rf", "a b", strings.Repeat("a", 33)} {
		_, _, err := w.BuildImage(t.Context(), w.config(), user, Building{}, func(string, string) {}, silent)
		require.ErrorContains(t, err, fmt.Sprintf("connector_config.username: %q is not a valid name", user))
	}
}

// The example's comment says what the default is.
func TestExampleDeniesWhatIsDeniedByDefault(t *testing.T) {
	_, after, found := strings.Cut(config.Example(config.ForInstance), "# deny = ")
	require.True(t, found)
	line, _, _ := strings.Cut(after, "\n")
	var example []string
	require.NoError(t, json.Unmarshal([]byte(line), &example))
	var denied []network.Destination
	for _, text := range example {
		some, err := network.ParseDestinations(text)
		require.NoError(t, err)
		denied = append(denied, some...)
	}
	require.ElementsMatch(t, network.DefaultDeny(), denied)
}

func TestCheckOfTheSyntheticBackend(t *testing.T) {
	w := newWorld(t)
	name, findings, err := w.Check(t.Context(), w.config(), silent)
	require.NoError(t, err)
	require.Equal(t, config.BackendSynthetic, name)
	require.NoError(t, Missing(findings))
}

func TestAutoTakesAutomaticBackendsOnly(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	c.Backend = config.BackendAuto
	_, err := w.candidates(c, silent)
	require.ErrorContains(t, err, "finds no backend")

	w.Backends = append(w.Backends, w.Backends[0])
	w.Backends[1].Name, w.Backends[1].Automatic = "another", true
	candidates, err := w.candidates(c, silent)
	require.NoError(t, err)
	require.Len(t, candidates, 1)
	require.Equal(t, "another", candidates[0].Name)
}

func TestBackendThatNeedsRootSaysSo(t *testing.T) {
	a := Assembly{Root: true, Backend: synthetic.New(synthetic.Options{})}
	err := Missing(a.check(t.Context()))
	if os.Geteuid() == 0 {
		require.NoError(t, err)
		return
	}
	require.ErrorContains(t, err, "need root")
}

func TestBuiltImageIsThatOfTheRecipe(t *testing.T) {
	w := newWorld(t)
	golden, name, err := w.BuildImage(t.Context(), w.config(), "root", Building{}, func(string, string) {}, silent)
	require.NoError(t, err)
	require.Equal(t, config.BackendSynthetic, name)
	recipe, err := recipeOf(w.config(), "root")
	require.NoError(t, err)
	require.Equal(t, recipe.Digest(), golden.Digest)
	require.Len(t, recipe.AgentSHA256, 64)

	other, err := recipeOf(w.config(), "")
	require.NoError(t, err)
	require.NotEqual(t, recipe.Digest(), other.Digest(), "another user makes another image")
}

// Builds take turns, and whoever waits says so. An image that is there waits
// for nobody.
func TestBuildSaysThatItWaitsForAnother(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	c := w.config()
	c.Pool = config.PoolImages
	_, unlock, err := take(ctx, c, store.Open, time.Second)
	require.NoError(t, err)

	var waited []string
	_, _, err = w.BuildImage(ctx, w.config(), "root", Building{}, func(stage, line string) {
		waited = append(waited, stage+" "+line)
		require.NoError(t, unlock())
	}, silent)
	require.NoError(t, err)
	require.Equal(t, []string{"waiting for another process of this program, which has its turn"}, waited)

	recipe, err := recipeOf(w.config(), "root")
	require.NoError(t, err)
	dir := filepath.Join(c.ImagesDir(), recipe.Digest())
	require.NoError(t, os.MkdirAll(dir, 0o700))
	manifest, err := json.Marshal(image.Manifest{
		Version: image.ManifestVersion, Digest: recipe.Digest(), BuiltSeconds: 7,
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, image.ManifestFile), manifest, 0o600))
	_, unlock, err = take(ctx, c, store.Open, time.Second)
	require.NoError(t, err)
	defer unlock()
	unwanted := func(stage, _ string) { t.Error("it should not", stage) }
	golden, name, err := w.BuildImage(ctx, w.config(), "root", Building{}, unwanted, silent)
	require.NoError(t, err)
	require.Equal(t, config.BackendSynthetic, name)
	require.InDelta(t, 7, golden.BuiltSeconds, 0)
}

func TestAnImageThatIsUsedIsNotReplaced(t *testing.T) {
	w := newWorld(t)
	recipe, err := recipeOf(w.config(), "root")
	require.NoError(t, err)
	golden, err := cache.New(w.config().ImagesDir()).Build(t.Context(), recipe,
		func(_ context.Context, work string) (root string, err error) {
			return "", os.WriteFile(filepath.Join(work, image.DiskFile), nil, 0o600)
		})
	require.NoError(t, err)
	used := map[string]bool{golden.Digest: true}
	w.UsedImages = func(config.Config) (map[string]bool, error) { return used, nil }
	scratch := Building{FromScratch: true}
	_, _, err = w.BuildImage(t.Context(), w.config(), "root", scratch, func(string, string) {}, silent)
	require.ErrorContains(t, err, "replacing image "+golden.Digest)
	require.ErrorContains(t, err, "change the recipe")
	require.DirExists(t, golden.Dir)
	used = nil
	_, _, err = w.BuildImage(t.Context(), w.config(), "root", scratch, func(string, string) {}, silent)
	require.NoError(t, err)
	require.DirExists(t, golden.Dir, "the synthetic backend makes nothing that could take its place")
}

func TestDamagedImagesAreFound(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	require.Empty(t, w.checkImages(c), "no images")
	for _, digit := range []string{"a", "b"} {
		dir := filepath.Join(c.ImagesDir(), strings.Repeat(digit, 32))
		require.NoError(t, os.MkdirAll(dir, 0o700))
		manifest := fmt.Sprintf(`{"version": 1, "digest": %q, "files": {"disk.raw": 5}}`, filepath.Base(dir))
		require.NoError(t, os.WriteFile(filepath.Join(dir, image.ManifestFile), []byte(manifest), 0o600))
	}
	whole := filepath.Join(c.ImagesDir(), strings.Repeat("a", 32))
	require.NoError(t, os.WriteFile(filepath.Join(whole, image.DiskFile), []byte("whole"), 0o600))

	findings := w.checkImages(c)
	require.Len(t, findings, 1)
	damaged := filepath.Join(c.ImagesDir(), strings.Repeat("b", 32))
	require.Equal(t, doctor.Warning, findings[0].Level)
	require.Contains(t, findings[0].Detail, damaged+": its disk.raw is missing")
	require.Equal(t, "rm -r '"+damaged+"'", findings[0].Command)
	require.False(t, findings[0].Safe, "a worker may still run on it")
}

func TestOpenDirectoriesAreClosedUnlessOthersUseThem(t *testing.T) {
	c := in(filepath.Join(shortDir(t), "it's"))
	require.Empty(t, checkModes(c), "there is none")
	require.NoError(t, os.MkdirAll(c.ImagesDir(), 0o700))
	require.Empty(t, checkModes(c))

	require.NoError(t, os.Chmod(c.StateDir, 0o750))
	require.NoError(t, os.Chmod(c.ImagesDir(), 0o755))
	findings := checkModes(c)
	require.Len(t, findings, 2)
	require.False(t, findings[0].Safe, "others may use images there")
	require.True(t, findings[1].Safe)
	require.NoError(t, findings[1].Fix(t.Context()))

	findings = checkModes(c)
	require.Len(t, findings, 1)
	require.True(t, findings[0].Safe)
	require.NoError(t, findings[0].Fix(t.Context()))
	requireMode(t, 0o700, c.StateDir)
	require.Empty(t, checkModes(c))
}

func TestOrphansAreAFindingWithTheCommandThatRemovesThem(t *testing.T) {
	w := newWorld(t)
	require.Empty(t, w.checkOrphans(t.Context(), w.config(), silent))
	w.leave("old", "old-aaaaaaaa")
	findings := w.checkOrphans(t.Context(), w.config(), silent)
	require.Len(t, findings, 1)
	require.Equal(t, doctor.Warning, findings[0].Level)
	require.Contains(t, findings[0].Detail, "worker directory old-aaaaaaaa")
	require.Equal(t, "fleeting-plugin-mayfly gc --state-dir '"+w.stateDir+"'", findings[0].Command)
	require.True(t, findings[0].Safe)
}

// shared is a network whose leases share what lacks something, which each look at it
// returns.
type shared struct {
	network.None
	lacking func() string
}

func (s shared) Lacking(context.Context) (string, error) { return s.lacking(), nil }

func (shared) Check(context.Context) []doctor.Finding { return nil }

func TestDoctorMissesTheRulesOfAPoolThatIsServed(t *testing.T) {
	w := newWorld(t)
	const missing = "nftables table inet mayfly-abcde is missing"
	find := func(ctx context.Context, lacking func() string) []doctor.Finding {
		return checkShared(ctx, w.config(), Assembly{Network: shared{lacking: lacking}})
	}
	lacks := func() string { return missing }
	require.Empty(t, find(t.Context(), lacks), "nobody serves the pool")
	records, err := store.Open(w.config().PoolDir())
	require.NoError(t, err)
	unlock, err := records.Lock(t.Context())
	require.NoError(t, err)
	unlock = sync.OnceValue(unlock)
	t.Cleanup(func() { require.NoError(t, unlock()) })

	require.Equal(t, doctor.OK, find(t.Context(), func() string { return "" })[0].Level)
	hasty, cancel := context.WithCancel(t.Context())
	cancel()
	lost := find(hasty, lacks)[0]
	require.Equal(t, doctor.Missing, lost.Level)
	require.Contains(t, lost.Detail, missing)
	require.NotEmpty(t, lost.Mend)
	require.Empty(t, checkShared(t.Context(), w.config(), Assembly{Network: network.None{}}))

	w.assembly.Network = shared{lacking: lacks}
	_, findings, err := w.Check(hasty, w.config(), silent)
	require.NoError(t, err)
	lost.Group = "network"
	require.Contains(t, findings, lost)

	looks := 0
	starting := func() string {
		if looks++; looks == 1 {
			return missing
		}
		return ""
	}
	require.Equal(t, doctor.OK, find(t.Context(), starting)[0].Level)
	require.Equal(t, 2, looks)
	stopping := func() string {
		require.NoError(t, unlock())
		return missing
	}
	require.Empty(t, find(t.Context(), stopping))
}

// in is a configuration with a state directory.
func in(dir string) config.Config {
	c := config.Default()
	c.StateDir = dir
	return c
}
