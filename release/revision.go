package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	tagged = regexp.MustCompile(`^v?((0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?)$`)
	// later is what git describe says of a commit after a tag.
	later = regexp.MustCompile(`^v?(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+?)?-(\d+)-g([0-9a-f]+)(-dirty)?$`)
	// untagged is what it says where there is no tag.
	untagged = regexp.MustCompile(`^([0-9a-f]{7,40})(-dirty)?$`)
)

// versionOf is the semantic version that a description by git stands for. Packages,
// fleeting's artifact and the program all have it, so it is one that each of them takes
// and puts in the same order: a commit after 1.2.3 comes before 1.2.4.
func versionOf(described string) (string, error) {
	dirty := func(suffix string) string { return strings.Replace(suffix, "-", ".", 1) }
	if of := later.FindStringSubmatch(described); of != nil {
		patch, err := strconv.Atoi(of[3])
		if err != nil {
			return "", fmt.Errorf("-version: %q: %w", described, err)
		}
		if of[4] == "" {
			patch++
		}
		before := "-dev"
		if of[4] != "" {
			before = of[4] + ".dev"
		}
		return fmt.Sprintf("%s.%s.%d%s.%s.g%s%s", of[1], of[2], patch, before, of[5], of[6], dirty(of[7])), nil
	}
	if of := tagged.FindStringSubmatch(described); of != nil {
		return of[1], nil
	}
	if of := untagged.FindStringSubmatch(described); of != nil {
		return "0.0.0-dev.g" + of[1] + dirty(of[2]), nil
	}
	return "", fmt.Errorf("-version: %q is no version: write one such as 1.2.3 or 1.3.0-rc.1 (make release VERSION=1.2.3)",
		described)
}

// revision is the commit that is checked out, and its time, unless epoch has one in
// seconds since 1970.
func revision(ctx context.Context, epoch string) (commit string, made time.Time, err error) {
	out, missing := exec.CommandContext(ctx, "git", "show", "--no-patch", "--format=%H %ct").Output()
	commit, seconds, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if epoch != "" {
		seconds = epoch
	}
	if seconds == "" {
		return "", time.Time{}, fmt.Errorf("asking git for the time of the commit: %w: "+
			"outside a checkout, set SOURCE_DATE_EPOCH to the time of the source, in seconds since 1970", missing)
	}
	at, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || at < 0 {
		return "", time.Time{}, errors.New("SOURCE_DATE_EPOCH: write seconds since 1970")
	}
	return commit, time.Unix(at, 0).UTC(), nil
}
