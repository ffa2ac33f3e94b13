package store_test

import (
	"context"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// sample is what testdata/worker.v1.json says.
var sample = store.Record{
	Version:       1,
	ID:            "default-a2b3c4d5",
	State:         "running",
	How:           "fork",
	Acceleration:  "kvm",
	ImageDigest:   "0123456789abcdef0123456789abcdef",
	Address:       netip.MustParseAddrPort("10.99.0.7:22"),
	User:          "runner",
	PrivateKey:    "-----BEGIN OPENSSH PRIVATE KEY-----\n(sample)\n-----END OPENSSH PRIVATE KEY-----\n",
	HostKeyPublic: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAISample",
	CreatedAt:     time.Date(2026, 7, 1, 10, 0, 0, 0, time.UTC),
	ReadyAt:       time.Date(2026, 7, 1, 10, 0, 0, 450e6, time.UTC),
	Phases:        map[string]float64{"wait_image": 0, "lease": 0.01, "start": 0.32, "ready": 0.12},
}

func open(t *testing.T) (*store.Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(dir)
	require.NoError(t, err)
	return s, dir
}

func TestReserveListRemove(t *testing.T) {
	s, dir := open(t)
	for _, id := range []string{"p-bbbbbbbb", "p-aaaaaaaa"} {
		got, err := s.Reserve(id)
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(dir, "workers", id), got)
		assert.Equal(t, got, s.Dir(id))
		assert.DirExists(t, got)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "workers", "stray"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "workers", "p-cccccccc"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "workers", "lost+found"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir("p-aaaaaaaa"), "disk.qcow2"), []byte("x"), 0o600))

	ids, err := s.List()
	require.NoError(t, err)
	assert.Equal(t, []string{"p-aaaaaaaa", "p-bbbbbbbb"}, ids)

	require.NoError(t, s.Remove("p-aaaaaaaa"))
	require.NoError(t, s.Remove("p-aaaaaaaa"), "the second time")
	assert.NoDirExists(t, s.Dir("p-aaaaaaaa"))
}

func TestLookMakesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pool")
	s, err := store.Look(dir)
	require.NoError(t, err)
	ids, err := s.List()
	require.NoError(t, err)
	assert.Empty(t, ids)
	unlock, err := s.Lock(t.Context())
	require.NoError(t, err)
	require.NoError(t, unlock())
	assert.NoDirExists(t, dir)
}

func TestLookSeesWhatIsThere(t *testing.T) {
	s, dir := open(t)
	_, err := s.Reserve("p-aaaaaaaa")
	require.NoError(t, err)
	unlock, err := s.Lock(t.Context())
	require.NoError(t, err)
	defer unlock()

	looking, err := store.Look(dir)
	require.NoError(t, err)
	ids, err := looking.List()
	require.NoError(t, err)
	assert.Equal(t, []string{"p-aaaaaaaa"}, ids)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = looking.Lock(ctx)
	assert.ErrorIs(t, err, store.ErrHeld)
}

func TestReserveRefusesAnIDInUse(t *testing.T) {
	s, _ := open(t)
	_, err := s.Reserve("p-aaaaaaaa")
	require.NoError(t, err)
	_, err = s.Reserve("p-aaaaaaaa")
	assert.ErrorIs(t, err, fs.ErrExist)
}

func TestIDsThatLeadElsewhereAreRefused(t *testing.T) {
	s, dir := open(t)
	outside := filepath.Join(dir, "precious")
	require.NoError(t, os.WriteFile(outside, nil, 0o600))
	for _, id := range []string{"", ".", "..", "../precious", "a/b", "/etc", "a/"} {
		_, err := s.Reserve(id)
		assert.Error(t, err, "Reserve(%q)", id)
		assert.Error(t, s.Remove(id), "Remove(%q)", id)
		assert.Error(t, s.Save(store.Record{ID: id}), "Save(%q)", id)
		_, err = s.Load(id)
		assert.Error(t, err, "Load(%q)", id)
	}
	assert.FileExists(t, outside)
}

func TestRecordComesBackAsSaved(t *testing.T) {
	s, _ := open(t)
	_, err := s.Reserve(sample.ID)
	require.NoError(t, err)
	require.NoError(t, s.Save(sample))
	require.NoError(t, s.Save(sample), "over the old one")

	got, err := s.Load(sample.ID)
	require.NoError(t, err)
	assert.Empty(t, cmp.Diff(sample, got, cmpopts.EquateComparable(netip.AddrPort{})))

	info, err := os.Stat(filepath.Join(s.Dir(sample.ID), store.RecordFile))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), "it holds a private key")
	entries, err := os.ReadDir(s.Dir(sample.ID))
	require.NoError(t, err)
	assert.Len(t, entries, 1, "no temporary file is left")
}

// A new file takes the place of the old one, so that no crash leaves half of a
// record.
func TestSaveLeavesTheOldFileAsItIs(t *testing.T) {
	s, dir := open(t)
	_, err := s.Reserve(sample.ID)
	require.NoError(t, err)
	require.NoError(t, s.Save(sample))
	old := filepath.Join(dir, "old")
	require.NoError(t, os.Link(filepath.Join(s.Dir(sample.ID), store.RecordFile), old))
	before, err := os.ReadFile(old)
	require.NoError(t, err)
	changed := sample
	changed.Reason = "another"
	require.NoError(t, s.Save(changed))
	after, err := os.ReadFile(old)
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after))
}

func TestSaveNeedsTheDirectory(t *testing.T) {
	s, _ := open(t)
	require.ErrorIs(t, s.Save(sample), fs.ErrNotExist)
	assert.NoDirExists(t, s.Dir(sample.ID), "a record must not bring a removed worker back")
}

func TestLoadReadsVersion1(t *testing.T) {
	text, err := os.ReadFile("testdata/worker.v1.json")
	require.NoError(t, err)
	got, err := load(t, string(text))
	require.NoError(t, err)
	assert.Empty(t, cmp.Diff(sample, got, cmpopts.EquateComparable(netip.AddrPort{})))
}

func TestLoadRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no version":     `{"id": "x"}`,
		"half a record":  `{"version": 1, "id": "x`,
		"an empty file":  ``,
		"a wrong type":   `{"version": 1, "id": 7}`,
		"a lower number": `{"version": -1}`,
		"another's":      `{"version": 1, "id": "p-bbbbbbbb"}`,
		"nobody's":       `{"version": 1}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, text)
			assert.ErrorContains(t, err, "reading the record of worker "+sample.ID)
		})
	}
	_, err := load(t, `{"version": 2, "id": {"of": "another shape"}}`)
	assert.ErrorIs(t, err, store.ErrNewer)
}

func TestLoadSaysThatThereIsNone(t *testing.T) {
	s, _ := open(t)
	_, err := s.Reserve("p-aaaaaaaa")
	require.NoError(t, err)
	_, err = s.Load("p-aaaaaaaa")
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func load(t *testing.T, text string) (store.Record, error) {
	t.Helper()
	s, _ := open(t)
	dir, err := s.Reserve(sample.ID)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, store.RecordFile), []byte(text), 0o600))
	return s.Load(sample.ID)
}

// Whoever could write to a worker's directory may have left anything there.
func TestLoadRefusesWhatIsNoRecordOfOurs(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"symbolic link": func(path string) error { return os.Symlink("/etc/passwd", path) },
		"pipe":          func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"directory":     func(path string) error { return os.Mkdir(path, 0o700) },
		"more than 1048576 bytes": func(path string) error {
			return os.WriteFile(path, make([]byte, 1<<20+1), 0o600)
		},
	} {
		s, _ := open(t)
		dir, err := s.Reserve(sample.ID)
		require.NoError(t, err)
		path := filepath.Join(dir, store.RecordFile)
		require.NoError(t, plant(path))
		_, err = s.Load(sample.ID)
		require.ErrorIs(t, err, statefile.ErrForeign)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, name)
		require.NoError(t, s.Remove(sample.ID))
		require.FileExists(t, "/etc/passwd")
	}
}

// A link in the place of a worker's directory is nobody's worker, and is not followed
// by what removes it.
func TestWorkersAreNoLinks(t *testing.T) {
	s, _ := open(t)
	elsewhere := t.TempDir()
	precious := filepath.Join(elsewhere, "precious")
	require.NoError(t, os.WriteFile(precious, nil, 0o600))
	require.NoError(t, os.Symlink(elsewhere, s.Dir(sample.ID)))
	ids, err := s.List()
	require.NoError(t, err)
	require.Empty(t, ids)
	require.NoError(t, s.Remove(sample.ID))
	require.NoFileExists(t, s.Dir(sample.ID))

	dir, err := s.Reserve(sample.ID)
	require.NoError(t, err)
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(dir, "root")))
	require.NoError(t, s.Remove(sample.ID))
	require.FileExists(t, precious)
}

func TestAHoldSaysHowLongItLasts(t *testing.T) {
	now := time.Now()
	held := &store.Held{Until: now.Add(90 * time.Minute), Why: "its job asked for it"}
	require.Equal(t, "held for another 1h30m0s: its job asked for it", held.Describe(now))
	require.True(t, held.Lasts(now))
	held.Saved = true
	require.Equal(t, "saved, held for another 0s: its job asked for it", held.Describe(now.Add(2*time.Hour)))
	require.False(t, held.Lasts(held.Until))
	require.False(t, (*store.Held)(nil).Lasts(now))
}
