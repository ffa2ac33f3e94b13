package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/filelock"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/scratch"
)

// checker is a network that knows what it needs of the host.
type checker interface {
	Check(context.Context) []doctor.Finding
}

// guarded is a network that knows what its workers share and what is not there.
type guarded interface {
	// Lacking says what of that is missing or incomplete; empty when all is in place.
	Lacking(context.Context) (string, error)
}

// Check looks at everything that the configuration needs of this host, and
// names the backend: of those that it leaves a choice of, the one that a plugin
// would take, or else the first.
func (h *Host) Check(
	ctx context.Context, c config.Config, log *slog.Logger,
) (name string, findings []doctor.Finding, err error) {
	candidates, err := h.candidates(c, log)
	if err != nil {
		return "", nil, err
	}
	a, backend := checkAll(ctx, candidates)
	findings = slices.Concat(
		doctor.Grouped("backend", backend...),
		doctor.Grouped("state", slices.Concat([]doctor.Finding{h.checkStateDir(c)}, checkModes(c), h.checkDisk(c),
			h.checkOrphans(ctx, c, log))...),
		doctor.Grouped("memory", checkRoom(c, a.Backend)...),
		doctor.Grouped("images", slices.Concat(h.checkImages(c), checkSpared(c), checkRenewal(c))...),
	)
	if network, ok := a.Network.(checker); ok && !a.lacksRoot() {
		findings = slices.Concat(findings, doctor.Grouped("network", slices.Concat(
			network.Check(ctx), []doctor.Finding{checkAddresses(c)}, checkShared(ctx, c, a))...))
	}
	return a.Name, findings, nil
}

// checkAll looks at one candidate after the other, up to the one that works.
func checkAll(ctx context.Context, candidates []Assembly) (Assembly, []doctor.Finding) {
	var first []doctor.Finding
	for i, a := range candidates {
		findings := a.check(ctx)
		if i == 0 {
			first = findings
		}
		if Missing(findings) != nil {
			continue
		}
		if len(candidates) > 1 {
			chosen := doctor.Finding{Level: doctor.OK, What: "backend", Detail: whyChosen(candidates, a.Name)}
			findings = slices.Insert(findings, 0, chosen)
		}
		return a, findings
	}
	return candidates[0], first
}

// checkStateDir tries what the plugin would do there, which tells more than any
// guess at permissions, and leaves nothing.
func (h *Host) checkStateDir(c config.Config) doctor.Finding {
	dir, finding := c.StateDir, doctor.Finding{Level: doctor.OK, What: "state_dir"}
	if err := checkDirectories(c); err != nil {
		finding.Level, finding.Detail = doctor.Missing, err.Error()
		finding.Mend = "give each of them to the user that runs GitLab Runner, or remove it"
		return finding
	}
	tried, reflink, err := h.tryDirectory(dir)
	if err != nil {
		finding.Level, finding.Detail = doctor.Missing, err.Error()
		finding.Mend = mendStateDir
		return finding
	}
	finding.Detail = tried + " is writable"
	if tried != dir {
		finding.Detail = dir + " will be made; " + finding.Detail
	}
	switch {
	case h.CanReflink == nil:
	case reflink:
		finding.Detail += "; its file system clones files without copying"
	default:
		finding.Level = doctor.Warning
		finding.Detail += "; its file system cannot share blocks between files, so that clones are overlays"
		finding.Mend = "for the fastest clones put state_dir on XFS (mkfs.xfs -m reflink=1) or btrfs"
	}
	return finding
}

// tryDirectory writes below the directory, and clones a file there; below the
// nearest one above when it is not there. It returns the directory that it tried.
func (h *Host) tryDirectory(dir string) (tried string, reflink bool, err error) {
	err = scratch.In(dir, func(work string) error {
		reflink = h.CanReflink != nil && h.CanReflink(work)
		return tryFiles(work)
	})
	if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
		return h.tryDirectory(parent)
	}
	return dir, reflink, err
}

// tryFiles does in a directory what records, images and forks need of its file
// system: a lock, a file that takes another's place, a second name.
func tryFiles(dir string) error {
	lock, err := filelock.TryAcquire(filepath.Join(dir, "lock"))
	if err != nil {
		return err
	}
	if err := lock.Release(); err != nil {
		return err
	}
	old, taken := filepath.Join(dir, "lock"), filepath.Join(dir, "new")
	err = os.WriteFile(taken, nil, private)
	if err == nil {
		err = os.Rename(old, taken)
	}
	if err == nil {
		err = os.Link(taken, old)
	}
	if err != nil {
		return fmt.Errorf("its file system lacks what is needed: %w", err)
	}
	return nil
}

// A plugin process that starts holds the pool's lock some time before its rules are in
// place, and one that stops some time after. So what lacks is looked for again, so
// often, for so long.
const (
	startsOrStops = 5 * time.Second
	lookAgain     = 100 * time.Millisecond
)

// checkShared looks for what workers of a pool share where a process serves the
// pool, such as the host's rules around them. Without it they are cut off.
func checkShared(ctx context.Context, c config.Config, a Assembly) []doctor.Finding {
	network, ok := a.Network.(guarded)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startsOrStops)
	defer cancel()
	for {
		finding := findShared(ctx, c, network)
		if finding == nil {
			return nil
		}
		if finding.Level != doctor.Missing {
			return []doctor.Finding{*finding}
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return []doctor.Finding{*finding}
		}
	}
}

// findShared returns nil when nobody serves the pool: there need be nothing.
func findShared(ctx context.Context, c config.Config, network guarded) *doctor.Finding {
	_, unlock, err := take(ctx, c, store.Look, sweepWait)
	if err == nil {
		_ = unlock()
		return nil
	}
	finding := &doctor.Finding{Level: doctor.OK, What: "rules of the pool"}
	what, failed := network.Lacking(ctx)
	switch {
	case !errors.Is(err, store.ErrHeld):
		finding.Level, finding.Detail = doctor.Warning, err.Error()
		finding.Mend = "run as the user that the plugin runs as"
	case failed != nil:
		finding.Level, finding.Detail = doctor.Warning, failed.Error()
		finding.Mend = "run as root"
	case what != "":
		finding.Level = doctor.Missing
		finding.Detail = "a plugin process serves the pool, but the host has lost its rules, " +
			"and workers are cut off: " + what
		finding.Mend = "the plugin puts them back by itself, and its log says why it cannot: else restart the runner"
	default:
		finding.Detail = "a plugin process serves the pool, and the host has all its rules"
	}
	return finding
}

// Missing makes one error of all that a host lacks, with lines for each; it is
// nil when nothing is missing.
func Missing(findings []doctor.Finding) error {
	var lacking []error
	for _, f := range findings {
		if f.Level == doctor.Missing {
			lacking = append(lacking, errors.New(f.String()))
		}
	}
	return errors.Join(lacking...)
}

// checkSpared tells of an image that the pool tries only now and then.
func checkSpared(c config.Config) []doctor.Finding {
	records, err := store.Look(c.PoolDir())
	if err != nil {
		return nil
	}
	finding := doctor.Finding{
		Level: doctor.Warning, What: "pool " + c.Pool,
		Mend: "`ps --ended` shows what the workers' consoles said; a recipe that is mended makes another image, " +
			"which is tried at once",
	}
	switch spared, open, err := records.Breaker(); {
	case err != nil:
		finding.Detail = err.Error()
	case open:
		finding.Detail = spared.String()
	default:
		return nil
	}
	return []doctor.Finding{finding}
}

// checkImages tells of golden images that are damaged, whichever pool uses them.
func (h *Host) checkImages(c config.Config) (findings []doctor.Finding) {
	_, err := h.Images(c.ImagesDir()).List()
	var each interface{ Unwrap() []error }
	if !errors.As(err, &each) { // the directory cannot be read, which checkStateDir reports
		return nil
	}
	for _, err := range each.Unwrap() {
		if damaged := (image.Damaged{}); errors.As(err, &damaged) {
			findings = append(findings, doctor.Finding{
				Level: doctor.Warning, What: "golden image", Detail: fmt.Sprintf("%s: %v", damaged.Dir, damaged.Reason),
				Mend: "have it built again", Command: "rm -r " + guest.Quote(damaged.Dir),
			})
		}
	}
	return findings
}
