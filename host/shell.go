package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/teardown"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// Clone is a worker that a person works in, and how to log in to it.
type Clone struct {
	ID string
	// Dir is the clone's own directory, which goes with it.
	Dir           string
	Address       netip.AddrPort
	User          string
	HostKeyPublic string
	Key           pool.Key
}

// Shell is what is done with a clone.
type Shell struct {
	// Work is called when the clone is ready, and works in it by SSH.
	Work func(ctx context.Context, clone Clone) error
	// Save is the name of the image that is made of what Work leaves, unless it fails;
	// empty makes none.
	Save string
}

// errCannotSave says that a backend keeps its machines where this program does not reach.
var errCannotSave = errors.New("this backend cannot make an image of a worker: image shell --save is for virtual " +
	"machines and containers of Linux hosts, without machine.devices")

// Shell makes a clone of a golden image for a person, and removes it after that. The image
// that it saves is returned.
func (h *Host) Shell(
	ctx context.Context, c config.Config, golden image.Golden, do Shell, progress image.Progress, log *slog.Logger,
) (saved image.Golden, err error) {
	if c, err = c.With(func(c *config.Config) { c.Pool = config.PoolShell }); err != nil {
		return image.Golden{}, err
	}
	a, err := h.choose(ctx, c, log)
	if err != nil {
		return image.Golden{}, err
	}
	saver, saves := a.Backend.(backend.Saver)
	if do.Save != "" && !saves {
		return image.Golden{}, errCannotSave
	}
	if err := h.nameIsFree(c, do.Save); err != nil {
		return image.Golden{}, err
	}
	release, err := golden.Hold(ctx)
	if err != nil {
		return image.Golden{}, err
	}
	defer func() { err = errors.Join(err, release()) }()
	err = h.withPool(ctx, c, a, quietWait, func() error {
		return h.withClone(ctx, c, a, golden, progress, log, func(clone Clone) error {
			if err := do.Work(ctx, clone); err != nil || do.Save == "" {
				return err
			}
			if err := h.diskOf(c, log).Check(ctx); err != nil {
				return fmt.Errorf("not saving an image: %w", err)
			}
			of, err := recipeOf(c, golden.Recipe.User) // an image does not know where its programs are
			if err != nil {
				return err
			}
			of.Form = golden.Recipe.Form
			saved, err = saver.Save(ctx, golden, clone.ID, image.SavedRecipe(of, do.Save, time.Now()), progress)
			return err
		})
	})
	if isTaken(ctx, err) {
		err = fmt.Errorf("a shell is open already below %s, and there is one at a time: %w", c.StateDir, err)
	}
	return saved, err
}

// nameIsFree refuses a name that means an image already, which nothing could make again.
func (h *Host) nameIsFree(c config.Config, name string) error {
	if name == "" {
		return nil
	}
	there, found, err := h.Images(c.ImagesDir()).Saved(name)
	if err == nil && found {
		err = fmt.Errorf("image %s has that name: choose another one, or remove it with `image rm %s`",
			there.Digest, there.Digest)
	}
	if err != nil {
		return fmt.Errorf("saving %q: %w", name, err)
	}
	return nil
}

// withClone calls work for a worker that is ready, and removes the worker after that.
func (h *Host) withClone(
	ctx context.Context, c config.Config, a Assembly, golden image.Golden, progress image.Progress, log *slog.Logger,
	work func(Clone) error,
) (err error) {
	records, err := store.Open(c.PoolDir())
	if err != nil {
		return err
	}
	share, err := budgetOf(c, h.diskOf(c, log).gate())
	if err != nil {
		return err
	}
	id := workerid.New(c.Pool)
	if _, err := records.Reserve(id); err != nil {
		return err
	}
	defer func() {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		err = errors.Join(err, teardown.Steps{
			Machine: []teardown.Step{a.Backend.Destroy}, Lease: []teardown.Step{a.Network.Release},
			Budget: []teardown.Step{share.Release}, Directory: records.Remove,
		}.Run(undo, id))
	}()
	waits := func(reason string) { progress("waiting", reason) }
	if err := share.Reserve(ctx, id, costOf(c, a.Backend), waits); err != nil {
		return err
	}
	progress("clone", "")
	clone, err := startClone(ctx, c, a, golden, id, records)
	if err != nil {
		return fmt.Errorf("starting %s: %w", id, err)
	}
	return work(clone)
}

// startClone returns when the worker lets its user in.
func startClone(
	ctx context.Context, c config.Config, a Assembly, golden image.Golden, id string, records *store.Store,
) (Clone, error) {
	late := fmt.Errorf("the clone was not ready within machine.start_timeout, %s", c.Machine.StartTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, c.Machine.StartTimeout, late)
	defer cancel()
	lease, err := a.Network.Acquire(ctx, id)
	if err != nil {
		return Clone{}, fmt.Errorf("its network: %w", err)
	}
	identity, key, err := a.Access.New(id, golden.Recipe.User)
	if err != nil {
		return Clone{}, err
	}
	identity.Link = guest.LinkOf(lease)
	machine, err := a.Backend.Start(ctx, golden, backend.Spec{
		ID: id, Dir: records.Dir(id), Size: backend.Size{CPUs: c.Machine.CPUs, Memory: c.Machine.Memory},
		Lease: lease, Identity: identity,
	})
	if err != nil {
		return Clone{}, err
	}
	running, stop := backend.WhileRunning(ctx, machine)
	defer stop()
	if err := a.Access.Ready(running, machine.Address(), identity, key); err != nil {
		return Clone{}, cmp.Or(machine.Err(), err)
	}
	now := time.Now()
	return Clone{
			ID: id, Dir: records.Dir(id), Address: machine.Address(), User: identity.User,
			HostKeyPublic: identity.HostKeyPublic, Key: key,
		}, records.Save(store.Record{ // for ps, and for whoever removes images
			ID: id, State: string(pool.Running), How: machine.How(), ImageDigest: golden.Digest,
			Address: machine.Address(), User: identity.User, CreatedAt: now, ReadyAt: now,
		})
}
