package store_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

func TestFullDiskLeavesTheOldRecord(t *testing.T) {
	d := sandbox.NewDisk(t, 16<<20)
	s, err := store.Open(d.Dir)
	require.NoError(t, err)
	_, err = s.Reserve("p-aaaaaaaa")
	require.NoError(t, err)
	old := store.Record{ID: "p-aaaaaaaa", State: "running", Reason: "old"}
	require.NoError(t, s.Save(old))

	d.Fill(0)
	full := "the file system of " + s.Dir("p-aaaaaaaa") + " is full"
	require.ErrorContains(t, s.Save(store.Record{ID: "p-aaaaaaaa", State: "deleting"}), full)
	read, err := s.Load("p-aaaaaaaa")
	require.NoError(t, err)
	assert.Equal(t, "old", read.Reason)
	_, err = s.Reserve("p-bbbbbbbb")
	assert.ErrorContains(t, err, "is full")
	unlock, err := s.Lock(t.Context())
	require.NoError(t, err, "a pool is opened, and cleared, on a full disk")
	require.NoError(t, unlock())
	ids, err := s.List()
	require.NoError(t, err)
	assert.Equal(t, []string{"p-aaaaaaaa"}, ids)

	d.Empty()
	_, err = s.Reserve("p-bbbbbbbb")
	require.NoError(t, err)
	require.NoError(t, s.Save(store.Record{ID: "p-bbbbbbbb"}))
	d.Fill(0)
	require.NoError(t, s.Remove("p-bbbbbbbb"), "removal needs no room")
}

func TestFullDiskLeavesTheOldDocuments(t *testing.T) {
	d := sandbox.NewDisk(t, 16<<20)
	s, err := store.Open(d.Dir)
	require.NoError(t, err)
	console := filepath.Join(t.TempDir(), "console.log")
	require.NoError(t, os.WriteFile(console, []byte("Kernel panic\n"), 0o600))
	require.NoError(t, s.KeepEnd(store.Ended{ID: "p-aaaaaaaa"}, console))
	forks := store.Forks{ImageDigest: "d", Peaks: []int64{7}}
	require.NoError(t, s.SaveForks(forks))

	d.Fill(0)
	full := "the file system of " + d.Dir + " is full"
	require.ErrorContains(t, s.SaveForks(store.Forks{ImageDigest: "other"}), full)
	read, err := s.LoadForks()
	require.NoError(t, err)
	require.Equal(t, forks, read)
	require.ErrorContains(t, s.SaveBreaker(store.Breaker{}), full)
	_, open, err := s.Breaker()
	require.NoError(t, err)
	require.False(t, open)
	dir := filepath.Join(d.Dir, store.EndedDir)
	for _, from := range []string{console, ""} {
		require.ErrorContains(t, s.KeepEnd(store.Ended{ID: "p-bbbbbbbb"}, from), "the file system of "+dir+" is full")
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "p-aaaaaaaa.console"), filepath.Join(dir, "p-aaaaaaaa.json")}, left)
}

func TestLockSaysThatThereIsNoInode(t *testing.T) {
	d := sandbox.NewDisk(t, 1<<20)
	s, err := store.Open(d.Dir)
	require.NoError(t, err)
	d.FillFiles()
	_, err = s.Lock(t.Context())
	require.ErrorContains(t, err, "the file system of "+d.Dir+" has no inode left")
}
