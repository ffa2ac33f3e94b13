package teardown

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDirectoryGoesLastAndOnlyWhenNothingElseIsLeft(t *testing.T) {
	stuck := errors.New("stuck")
	cases := map[string]struct {
		fail, done []string
		err        string
	}{
		"all succeeds": {
			done: []string{"machine", "machine of another", "lease", "lease of another", "directory"},
		},
		"a machine is stuck": {
			fail: []string{"machine"},
			done: []string{"machine of another", "lease", "lease of another"},
			err:  "destroying the machine of a: stuck",
		},
		"a lease is stuck": {
			fail: []string{"lease of another"},
			done: []string{"machine", "machine of another", "lease"},
			err:  "releasing the lease of a: stuck",
		},
		"both are": {
			fail: []string{"machine", "lease"},
			done: []string{"machine of another", "lease of another"},
			err:  "destroying the machine of a: stuck\nreleasing the lease of a: stuck",
		},
		"the directory stays": {
			fail: []string{"directory"},
			done: []string{"machine", "machine of another", "lease", "lease of another"},
			err:  "stuck",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var done []string
			step := func(what string) Step {
				return func(_ context.Context, id string) error {
					require.Equal(t, "a", id)
					if slices.Contains(c.fail, what) {
						return stuck
					}
					done = append(done, what)
					return nil
				}
			}
			err := Steps{
				Machine:   []Step{step("machine"), step("machine of another")},
				Lease:     []Step{step("lease"), step("lease of another")},
				Directory: func(id string) error { return step("directory")(t.Context(), id) },
			}.Run(t.Context(), "a")
			require.Equal(t, c.done, done)
			if c.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, stuck)
			require.EqualError(t, err, c.err)
		})
	}
}
