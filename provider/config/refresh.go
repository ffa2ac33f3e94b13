package config

import (
	"fmt"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// The bounds of a period, and the period of which a clock time is the beginning.
const (
	minRefresh = time.Minute
	maxRefresh = 366 * aDay
	aDay       = 24 * time.Hour
)

// refreshKeys are those of the section image that say when images come and go.
func refreshKeys(i *Image) []key {
	return []key{
		{name: "refresh", value: text(&i.Refresh, parseRefresh), otherwise: "never", example: `"24h at 04:00"`,
			about: "when the image is made anew, from newer packages, beside the workers that run: a duration " +
				"(\"24h\"), a time of the day in UTC (\"04:00\"), or both ([guide](../guides/image.md#renewing)). " +
				"Durations are counted from the first of January 1970, in UTC",
			refused: "below 1m, above 366 days; a time of the day with a duration that is not of whole days; with " +
				"the backends \"tart\" and \"bhyve\"; with `machine.devices`"},
		{name: "check", value: list(&i.Check, parseCommand), example: `["git --version"]`,
			about: "shell commands, run in order, as the user that jobs log in as, in the first worker of a renewed " +
				"image: if one fails, the image that is there is served on. Each may take `machine.start_timeout`",
			refused: "as for `image.run`; without `image.refresh`"},
		{name: "keep", value: text(&i.Keep, parseKeep), fallback: `"72h"`, kind: "duration",
			about: "how long an image stays after its last use, when no pool, no worker and no template uses it any " +
				"more. Images are of all pools of a `state_dir`: the shortest time of those that are served counts",
			refused: "negative"},
	}
}

// checkRefresh refuses what nobody would renew, and checks that nobody would run.
func (c *Config) checkRefresh(r *reading) {
	if c.entersBySSH() && r.gave("image.refresh") {
		r.refuse("image.refresh", "images of the backend %q are its tool's, and are not renewed: remove it",
			c.foreign())
	}
	if r.gave("image.refresh") && len(c.Machine.Devices) > 0 {
		r.refuse("image.refresh", "contradicts machine.devices: the first worker of a renewed image would need a "+
			"device that the pool's worker has: remove one of the two")
	}
	if r.gave("image.check") && c.Image.Refresh == (image.Refresh{}) && !r.wrong("image.refresh") {
		r.refuse("image.check", "nothing is checked, since nothing is renewed: "+
			"write for instance image.refresh = \"24h\", or remove it")
	}
}

func parseRefresh(text string) (image.Refresh, error) {
	refresh, err := readRefresh(text)
	switch {
	case err != nil:
		return image.Refresh{}, fmt.Errorf("%q is not a valid time to renew images: "+
			"write for instance \"24h\", \"04:00\", or \"168h at 04:00\"", text)
	case refresh.Every < minRefresh || refresh.Every > maxRefresh:
		return image.Refresh{}, fmt.Errorf("%q is out of range: write at least %q and at most %q",
			text, minRefresh, maxRefresh)
	case refresh.At > 0 && refresh.Every%aDay != 0:
		return image.Refresh{}, fmt.Errorf("%q has a time of the day, and not whole days: "+
			"write for instance \"48h at 04:00\"", text)
	}
	return refresh, nil
}

func readRefresh(text string) (image.Refresh, error) {
	every, at, both := strings.Cut(text, " at ")
	if !both && strings.Contains(text, ":") {
		every, at = aDay.String(), text
	}
	period, err := time.ParseDuration(every)
	if err != nil || !both && at == "" {
		return image.Refresh{Every: period}, err
	}
	clock, err := time.Parse("15:04", at)
	if err != nil {
		return image.Refresh{}, err
	}
	return image.Refresh{
		Every: period, At: time.Duration(clock.Hour())*time.Hour + time.Duration(clock.Minute())*time.Minute,
	}, nil
}

func parseKeep(text string) (time.Duration, error) {
	keep, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a valid duration: write a number with a unit, for instance \"72h\"", text)
	}
	if keep < 0 {
		return 0, fmt.Errorf("%q is negative: write \"0s\" to keep no image that nobody uses", text)
	}
	return keep, nil
}
