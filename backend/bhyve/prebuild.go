package bhyve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest/remote"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/source"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/sshkey"
)

// prebuilder makes one golden guest.
type prebuilder struct {
	*Backend
	stage.Place
	recipe   image.Recipe
	progress image.Progress
}

// prebuild leaves a guest that is off, and not yet golden by name.
func (p prebuilder) prebuild(ctx context.Context) (about, error) {
	login, err := p.make(ctx)
	if err != nil {
		return about{}, err
	}
	p.progress("boot", "")
	m, err := p.run(ctx, p.ID, backend.Size{CPUs: p.recipe.CPUs, Memory: p.recipe.Memory})
	if err != nil {
		return about{}, err
	}
	made, err := p.inside(ctx, m, login)
	if err != nil {
		return made, err
	}
	return made, p.awaitPowerOff(ctx, m)
}

// make makes the guest that is prebuilt, and says how it is entered first.
func (p prebuilder) make(ctx context.Context) (remote.Login, error) {
	login := remote.Login{User: p.options.User, Password: p.options.Password}
	if p.recipe.Source.Kind == image.VM {
		name, snapshot, _ := strings.Cut(p.recipe.Source.Location, "@")
		p.progress("clone", p.recipe.Source.Location)
		return login, p.host.whole(ctx, "vm", cloneArguments(name, snapshot, p.ID)...)
	}
	pair, err := sshkey.NewPair("mayfly-prebuild")
	if err != nil {
		return login, err
	}
	login.Key = pair.Private
	key := filepath.Join(p.Dir, "login.pub")
	if err := os.WriteFile(key, []byte(pair.Public+"\n"), 0o600); err != nil {
		return login, err
	}
	return login, p.create(ctx, key)
}

// create imports the image's file, makes a guest of it, and drops the import.
func (p prebuilder) create(ctx context.Context, key string) (err error) {
	file, err := p.fetch(ctx)
	if err != nil {
		return err
	}
	before, after, err := importName(p.recipe.Digest(), p.recipe.Source.Location)
	if err != nil {
		return err
	}
	link := filepath.Join(p.Dir, before) // the name says what it becomes
	if err := os.Symlink(file, link); err != nil {
		return fmt.Errorf("naming the image: %w", err)
	}
	dir, err := p.host.directory(ctx)
	if err != nil {
		return err
	}
	p.progress("import", p.recipe.Source.Location)
	defer func() {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), stage.RemoveLimit)
		defer cancel()
		err = errors.Join(err, p.host.root(undo, "rm", "-f", filepath.Join(dir, ".img", after)))
	}()
	show := lines.New(func(line string) { p.progress("import", line) })
	if err := p.host.show(ctx, show, "vm", "img", "file://"+link); err != nil {
		return err
	}
	size := backend.Size{CPUs: p.recipe.CPUs, Memory: p.recipe.Memory}
	return p.host.show(ctx, show, "vm", createArguments(p.ID, p.options.Template, after, key, size, p.recipe.Disk)...)
}

// fetch has the image's file on this host, and its digest checked, which
// vm-bhyve never does.
func (p prebuilder) fetch(ctx context.Context) (string, error) {
	p.progress("download", "")
	show := func(line string) { p.progress("download", line) }
	if p.recipe.Source.Kind == image.HTTPS {
		return source.HTTPS{Dir: filepath.Join(p.options.StateDir, "downloads")}.Fetch(ctx, p.recipe.Source, show)
	}
	return source.Local{}.Fetch(ctx, p.recipe.Source, show)
}

// inside does what is done in the guest, up to its agreement to power off.
func (p prebuilder) inside(ctx context.Context, m *machine, login remote.Login) (about, error) {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	system, keys, err := remote.MakeGolden(ctx, p.locate(p.ID), login, p.recipe, p.progress)
	return about{OS: system, Keys: keys}, err
}

// stopLimit is how long a guest may take to power off by itself before it is
// asked once more, from outside.
const stopLimit = time.Minute

// awaitPowerOff waits until nothing of the running guest is left: only then
// its disk is whole.
func (p prebuilder) awaitPowerOff(ctx context.Context, m *machine) error {
	dir, err := p.host.directory(ctx)
	if err != nil {
		return err
	}
	lock := filepath.Join(dir, p.ID, lockFile)
	late := fmt.Errorf("the guest did not power off within %s", powerOffLimit)
	ctx, cancel := context.WithTimeoutCause(ctx, powerOffLimit, late)
	defer cancel()
	again := time.After(stopLimit)
	for p.host.alive(m.id) || exists(lock) {
		select {
		case <-time.After(devicePoll):
		case <-again:
			if err := p.host.root(ctx, "vm", "stop", m.id); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
