package image

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEditionsFollowFromTheClock(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		refresh            Refresh
		now, edition, next string
	}{
		{Refresh{Every: day}, "2026-11-29T15:04:05Z", "2026-11-29T00:00:00Z", "2026-11-30T00:00:00Z"},
		{Refresh{Every: day}, "2026-11-29T00:00:00Z", "2026-11-29T00:00:00Z", "2026-11-30T00:00:00Z"},
		{Refresh{Every: day}, "2026-11-29T01:00:00+02:00", "2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z"},
		{Refresh{day, 4 * time.Hour}, "2026-11-29T03:59:59Z", "2026-11-28T04:00:00Z", "2026-11-29T04:00:00Z"},
		{Refresh{day, 4 * time.Hour}, "2026-11-29T04:00:00Z", "2026-11-29T04:00:00Z", "2026-11-30T04:00:00Z"},
		{Refresh{7 * day, 4 * time.Hour}, "2026-11-29T04:00:00Z", "2026-11-26T04:00:00Z", "2026-12-03T04:00:00Z"},
		{Refresh{Every: time.Minute}, "2026-11-29T15:04:05.5Z", "2026-11-29T15:04:00Z", "2026-11-29T15:05:00Z"},
		{Refresh{day, 4 * time.Hour}, "1970-01-01T01:00:00Z", "1969-12-31T04:00:00Z", "1970-01-01T04:00:00Z"},
	} {
		now, err := time.Parse(time.RFC3339Nano, test.now)
		require.NoError(t, err)
		require.Equal(t, test.edition, test.refresh.Edition(now), test)
		require.Equal(t, test.next, test.refresh.Next(now).Format(time.RFC3339), test)
	}
	require.Empty(t, Refresh{}.Edition(time.Now()))
}

func TestAnEditionIsFreshUntilTheNextUnlessItsClockWasWrong(t *testing.T) {
	daily := Refresh{Every: 24 * time.Hour}
	now := time.Date(2026, 11, 29, 15, 0, 0, 0, time.UTC)
	for edition, want := range map[string]struct{ fresh, ahead bool }{
		"":                     {false, false},
		"2026-11-28T00:00:00Z": {false, false},
		"2026-11-29T00:00:00Z": {true, false},
		"2026-11-30T00:00:00Z": {true, false}, // another host's clock may be a little ahead
		"2026-12-01T00:00:00Z": {false, true},
		"2031-01-01T00:00:00Z": {false, true},
	} {
		require.Equal(t, want.fresh, daily.Fresh(edition, now), edition)
		require.Equal(t, want.ahead, daily.Ahead(edition, now), edition)
	}
}

func TestEditionsAreImagesOfTheirOwn(t *testing.T) {
	one := Recipe{User: "runner", Edition: "2026-11-28T04:00:00Z"}
	other := one
	other.Edition = "2026-11-29T04:00:00Z"
	require.NotEqual(t, one.Digest(), other.Digest())
	require.Equal(t, one.Series(), other.Series())
	without := Recipe{User: "runner", GivesWay: true}
	require.Equal(t, one.Series(), without.Digest(), "images of before belong to the series, and keep their names")
	other.User = "somebody"
	require.NotEqual(t, one.Series(), other.Series())
}
