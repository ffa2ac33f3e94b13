package inventory

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	alive = "soak-aaaaaaaa"
	dead  = "soak-bbbbbbbb"
)

var owners = map[Owner]Belongings{
	Worker(alive): {Must: []Kind{Directory, Link}, May: []Kind{Process}},
	Pool("soak"):  {May: []Kind{Table}},
}

func TestWhatBelongsToSomebodyIsNotWrong(t *testing.T) {
	require.Empty(t, Compare([]Thing{
		{Directory, "workers/" + alive, Worker(alive)},
		{Link, "mfabcdeaaaaaaaa", Worker("mfabcdeaaaaaaaa")},
		{Process, "qemu", Worker(alive)},
		{Table, "mayfly-abcde", Pool("soak")},
	}, owners))
}

func TestOrphansAreWrong(t *testing.T) {
	whole := []Thing{{Directory, "workers/" + alive, Worker(alive)}, {Link, "mfabcdeaaaaaaaa", Worker(alive)}}
	for name, orphan := range map[string]Thing{
		"of a worker that is gone":            {Link, "mfabcdebbbbbbbb", Worker(dead)},
		"of a pool that is gone":              {Table, "mayfly-zzzzz", Pool("other")},
		"of nobody":                           {Unknown, "core", ""},
		"of a kind that its owner has not":    {Namespace, "mfabcdeaaaaaaaa", Worker(alive)},
		"of everyone where there is no pool":  {Forwarding, "eth0", Everyone},
		"of a plugin process that was killed": {Temporary, "mayfly-socket-1", Plugin(1)},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, []string{"orphan: " + orphan.String()}, Compare(append(whole, orphan), owners))
		})
	}
}

func TestWhatALiveOwnerLacksIsWrong(t *testing.T) {
	require.Equal(t, []string{"missing: link of worker aaaaaaaa", "missing: worker directory of worker aaaaaaaa"},
		Compare(nil, owners))
}

func TestMoreThanAnybodyHasIsWrong(t *testing.T) {
	pool := map[Owner]Belongings{Pool("soak"): {May: []Kind{End}}}
	var ends []Thing
	for range most[End] {
		ends = append(ends, Thing{End, "ended/" + dead + ".json", Pool("soak")})
	}
	require.Empty(t, Compare(ends, pool))
	require.Equal(t, []string{"too many: 11 times note of an end of pool soak, and not 10 at most"},
		Compare(append(ends, ends[0]), pool))
}
