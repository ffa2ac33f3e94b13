package secrets

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/sshkey"
)

// state is a state directory with a worker that has a key.
func state(t *testing.T) (dir, record string, key sshkey.Pair) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	worker := filepath.Join(dir, "pools/p/workers/p-aaaaaaaa")
	require.NoError(t, os.MkdirAll(worker, 0o700))
	key, err := sshkey.NewPair("p-aaaaaaaa")
	require.NoError(t, err)
	text, err := json.Marshal(map[string]string{"private_key": key.Private, "host_key_public": key.Public})
	require.NoError(t, err)
	record = filepath.Join(worker, "worker.json")
	require.NoError(t, os.WriteFile(record, text, 0o600))
	return dir, record, key
}

func TestWhatIsKeptIsNoLeak(t *testing.T) {
	dir, _, key := state(t)
	keys := RequireKept(t, dir)
	require.Len(t, keys, 1)
	keys.RequireAbsent(t, "the worker has the key "+key.Public)
	require.True(t, keys.in([]byte("a log: "+key.Private)))
	RequireClosed(t, dir)
}

func TestFilesWithKeysThatOthersCanReadAreFound(t *testing.T) {
	dir, _, key := state(t)
	path := filepath.Join(dir, "images/0/root/copy")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(key.Private), 0o600))
	require.NoError(t, os.Chmod(path, 0o644))
	_, leaks, err := look(dir)
	require.NoError(t, err)
	require.Len(t, leaks, 1)
	require.Contains(t, leaks[0], path)
}

func TestWhatIsOpenIsFound(t *testing.T) {
	dir, record, _ := state(t)
	require.NoError(t, os.Chmod(record, 0o640))
	require.NoError(t, os.Chmod(dir, 0o711))
	for _, path := range alsoOurs {
		path = filepath.Join(dir, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		require.NoError(t, os.Chmod(path, 0o604))
	}
	open, err := openFiles(dir)
	require.NoError(t, err)
	require.Len(t, open, 2+len(alsoOurs))
	require.Contains(t, open[0], "drwx--x--x")
	all := strings.Join(open, "\n")
	for _, path := range append(alsoOurs, "worker.json") {
		require.Contains(t, all, path)
	}
}

// alsoOurs are files without keys, which tell of workers and of the host.
var alsoOurs = []string{
	"addresses/10.210.0.2", "users/2103902208", "budget/lock", "budget/held/p-aaaaaaaa,1,1,1", "downloads/sha256-0a",
	"pools/p/ended/p-aaaaaaaa.console",
}

func TestNothingToLookForIsAnError(t *testing.T) {
	_, _, err := look(t.TempDir())
	require.ErrorContains(t, err, "no worker runs")
}
