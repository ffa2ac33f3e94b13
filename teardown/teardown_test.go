package teardown

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDirectoryGoesLastAndOnlyWhenNothingElseIsLeft(t *testing.T) {
	stuck := errors.New("stuck")
	cases := map[string]struct {
		fails []string
		done  []string
		err   string
	}{
		"all succeeds":        {nil, []string{"machine", "machine of another", "lease", "lease of another", "directory"}, ""},
		"a machine is stuck":  {[]string{"machine"}, []string{"machine of another", "lease", "lease of another"}, "destroying the machine of a: stuck"},
		"a lease is stuck":    {[]string{"lease of another"}, []string{"machine", "machine of another", "lease"}, "releasing the lease of a: stuck"},
		"both are":            {[]string{"machine", "lease"}, []string{"machine of another", "lease of another"}, "destroying the machine of a: stuck\nreleasing the lease of a: stuck"},
		"the directory stays": {[]string{"directory"}, []string{"machine", "machine of another", "lease", "lease of another"}, "stuck"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var done []string
			step := func(what string) Step {
				return func(_ context.Context, id string) error {
					require.Equal(t, "a", id)
					for _, fails := range c.fails {
						if what == fails {
							return stuck
						}
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
