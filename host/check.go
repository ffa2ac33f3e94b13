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

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// checker is a network that knows what it needs of the host.
type checker interface {
	Check(context.Context) []doctor.Finding
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
	a, findings := checkAll(ctx, candidates)
	findings = slices.Concat(findings, []doctor.Finding{h.checkStateDir(c.StateDir)}, checkRoom(c), h.checkImages(c))
	if network, ok := a.Network.(checker); ok && !a.lacksRoot() {
		findings = append(append(findings, network.Check(ctx)...), checkAddresses(c))
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
func (h *Host) checkStateDir(dir string) doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "state_dir"}
	tried, reflink, err := h.tryDirectory(dir)
	if err != nil {
		finding.Level, finding.Detail = doctor.Missing, err.Error()
		finding.Mend = "let this user write to it, or set plugin_config.state_dir"
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
	work, err := os.MkdirTemp(dir, ".doctor-")
	if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
		return h.tryDirectory(parent)
	}
	if err != nil {
		return "", false, fmt.Errorf("%s cannot be written to: %w", dir, errors.Unwrap(err))
	}
	reflink = h.CanReflink != nil && h.CanReflink(work)
	return dir, reflink, os.RemoveAll(work)
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
				Mend: fmt.Sprintf("rm -r %s, to have it built again", damaged.Dir),
			})
		}
	}
	return findings
}
