package host

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// hostImages is what a pool sees of the host's golden images.
type hostImages struct {
	host   *Host
	config config.Config
}

var _ pool.Images = hostImages{}

// Editions finds the editions of a recipe that there are, the newest first. Images that
// are damaged do not hide the others.
func (i hostImages) Editions(recipe image.Recipe) ([]image.Golden, error) {
	all, err := i.host.Images(i.config.ImagesDir()).List()
	series := recipe.Series()
	found := slices.DeleteFunc(all, func(g image.Golden) bool { return g.Recipe.Series() != series })
	slices.SortFunc(found, func(a, b image.Golden) int { return cmp.Compare(b.Recipe.Edition, a.Recipe.Edition) })
	return found, err
}

// Remove removes images that are chosen, unless somebody has come to use them.
func (i hostImages) Remove(which func(image.Golden, time.Time) bool) (removed []string, err error) {
	if i.host.UnusedImages == nil {
		return nil, nil
	}
	unused, err := i.host.UnusedImages(i.config, which)
	if err != nil {
		return nil, fmt.Errorf("looking for images that nobody uses: %w", err)
	}
	for _, one := range unused {
		gone, failed := one.Remove()
		if gone {
			removed = append(removed, one.What)
		}
		err = errors.Join(err, failed)
	}
	return removed, err
}

// FailedRenewal is why a pool serves an image on that it was to renew.
type FailedRenewal struct {
	Pool string
	store.Served
}

// FailedRenewals are those of all pools below the state directory.
func (h *Host) FailedRenewals(c config.Config) (failed []FailedRenewal, err error) {
	names, err := h.PoolNames(c)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		c.Pool = name
		served, known, looked := lookServed(c)
		if looked != nil {
			err = errors.Join(err, fmt.Errorf("pool %s: %w", name, looked))
		}
		if known && served.Failed != nil {
			failed = append(failed, FailedRenewal{name, served})
		}
	}
	return failed, err
}

func lookServed(c config.Config) (served store.Served, known bool, err error) {
	records, err := store.Look(c.PoolDir())
	if err != nil {
		return store.Served{}, false, err
	}
	return records.Served()
}

// checkRenewal tells of an image that the pool could not renew.
func checkRenewal(c config.Config) []doctor.Finding {
	finding := doctor.Finding{
		Level: doctor.Warning, What: "pool " + c.Pool,
		Mend: "the plugin's log has the whole error, and `ps --ended` what its first worker's console said; " +
			"it is tried again by itself",
	}
	switch served, known, err := lookServed(c); {
	case err != nil:
		finding.Detail = err.Error()
	case known && served.Failed != nil:
		finding.Detail = fmt.Sprintf("image %s: %s", served.ImageDigest, served.Failed)
	default:
		return nil
	}
	return []doctor.Finding{finding}
}
