package host

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host/budget"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host/diskguard"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// hostDisk is what a pool sees of the host's disk.
type hostDisk struct {
	*diskguard.Guard
	images Images
}

// diskOf is the disk that the state directory is on.
func (h *Host) diskOf(c config.Config, log *slog.Logger) hostDisk {
	options := diskguard.Options{Dir: c.StateDir, Reserve: c.Host.ReserveDisk, Log: log}
	if dir, err := filepath.EvalSymlinks(c.StateDir); err == nil {
		options.Dir = dir // which is locked, and locks follow no link
	}
	if h.Leftovers != nil {
		options.Lists = h.Leftovers(c)
	}
	return hostDisk{diskguard.New(options), h.Images(c.ImagesDir())}
}

// HasImage says whether the image is there. One that is damaged is not built either.
func (d hostDisk) HasImage(digest string) bool {
	_, found, err := d.images.Get(digest)
	return found || err != nil
}

// gate holds back every start while too little is free.
func (d hostDisk) gate() budget.Gate { return budget.Gate{Name: "disk", Closed: d.Closed} }

// watch makes room when it is missed, until what it returns is called, which waits for
// the end of that.
func (d hostDisk) watch() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { d.Run(ctx) })
	return func() { cancel(); running.Wait() }
}

// checkDisk says how much of the disk is free, and how much could be.
func (h *Host) checkDisk(c config.Config) (findings []doctor.Finding) {
	room, err := diskspace.Of(c.StateDir)
	if err != nil {
		return nil
	}
	disk := h.diskOf(c, slog.New(slog.DiscardHandler))
	freeable, _ := disk.Freeable() // of what is known
	finding := checkSpace(c.StateDir, room.Free, freeable)
	if reason := disk.Closed(); reason != "" {
		finding.Level = doctor.Warning
		finding.Detail += "; nothing is built and no worker starts now: " + reason
	}
	return []doctor.Finding{finding}
}
