package workerid_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

func TestIDsAreValidAndLeadBackToTheirKeys(t *testing.T) {
	for _, id := range []string{workerid.New("ci-linux"), workerid.Derived("ci-linux", "an image")} {
		require.True(t, workerid.Valid(id), id)
		key, ok := workerid.Key("ci-linux", id)
		require.True(t, ok, id)
		require.Equal(t, id, workerid.Join("ci-linux", key))
	}
	require.NotEqual(t, workerid.New("ci"), workerid.New("ci"))
}

// Another result would hide what an older version has left behind.
func TestDerivedIsAlwaysTheSame(t *testing.T) {
	require.Equal(t, "default-4oymiquy", workerid.Derived("default", ""))
}

func TestWhatIsNoID(t *testing.T) {
	for _, name := range []string{"", "lost+found", "ci", "ci-", "-aaaaaaaa", "ci-aaaaaaa", "ci-aaaaaaaa1", "ci-aaaaaaa8",
		"ci-AAAAAAAA", "../ci-aaaaaaaa", "ci-aaaaaaaa\n", "copy of ci-aaaaaaaa"} {
		require.False(t, workerid.Valid(name), "%q", name)
		_, ok := workerid.Key("ci", name)
		require.False(t, ok, "%q", name)
	}
	_, ok := workerid.Key("ci", "other-aaaaaaaa")
	require.False(t, ok)
	_, ok = workerid.Key("ci", "ci-linux-aaaaaaaa")
	require.False(t, ok, "the pool ci-linux is another one")
}
