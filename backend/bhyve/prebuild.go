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
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/foreigntool"
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
	foreigntool.Prebuild
}

// prebuild leaves a guest that is off, and not yet golden by name.
func (b *Backend) prebuild(ctx context.Context, golden foreigntool.Prebuild) (foreigntool.Note, error) {
	p := prebuilder{b, golden}
	login, err := p.make(ctx)
	if err != nil {
		return foreigntool.Note{}, err
	}
	m, err := p.run(ctx, p.ID, backend.Size{CPUs: p.Recipe.CPUs, Memory: p.Recipe.Memory})
	if err != nil {
		return foreigntool.Note{}, err
	}
	made, err := p.Seal(ctx, m, p.locate(p.ID), login)
	if err != nil {
		return made, err
	}
	return made, p.awaitPowerOff(ctx, m)
}

// make makes the guest that is prebuilt, and says how it is entered first.
func (p prebuilder) make(ctx context.Context) (remote.Login, error) {
	login := remote.Login{User: p.options.User, Password: p.options.Password}
	if p.Recipe.Source.Kind == image.VM {
		name, snapshot, _ := strings.Cut(p.Recipe.Source.Location, "@")
		p.Progress("clone", p.Recipe.Source.Location)
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
	before, after, err := importName(p.Recipe.Digest(), p.Recipe.Source.Location)
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
	p.Progress("import", p.Recipe.Source.Location)
	defer func() {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), stage.RemoveLimit)
		defer cancel()
		err = errors.Join(err, p.host.root(undo, "rm", "-f", filepath.Join(dir, ".img", after)))
	}()
	show := lines.New(func(line string) { p.Progress("import", line) })
	if err := p.host.show(ctx, show, "vm", "img", "file://"+link); err != nil {
		return err
	}
	size := backend.Size{CPUs: p.Recipe.CPUs, Memory: p.Recipe.Memory}
	return p.host.show(ctx, show, "vm", createArguments(p.ID, p.options.Template, after, key, size, p.Recipe.Disk)...)
}

// fetch has the image's file on this host, and its digest checked, which
// vm-bhyve never does.
func (p prebuilder) fetch(ctx context.Context) (string, error) {
	p.Progress("download", "")
	show := func(line string) { p.Progress("download", line) }
	if p.Recipe.Source.Kind == image.HTTPS {
		return source.HTTPS{Dir: filepath.Join(p.options.StateDir, "downloads")}.Fetch(ctx, p.Recipe.Source, show)
	}
	return source.Local{}.Fetch(ctx, p.Recipe.Source, show)
}

// stopLimit is how long a guest may take to power off by itself before it is
// asked once more, from outside.
const stopLimit = time.Minute

// awaitPowerOff waits until nothing of the running guest is left: only then
// its disk is whole.
func (p prebuilder) awaitPowerOff(ctx context.Context, m *foreigntool.Watched) error {
	dir, err := p.host.directory(ctx)
	if err != nil {
		return err
	}
	lock := filepath.Join(dir, p.ID, lockFile)
	ctx, cancel := foreigntool.UntilOff(ctx)
	defer cancel()
	again := time.After(stopLimit)
	for p.host.alive(m.ID()) || exists(lock) {
		select {
		case <-time.After(devicePoll):
		case <-again:
			if err := p.host.root(ctx, "vm", "stop", m.ID()); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
