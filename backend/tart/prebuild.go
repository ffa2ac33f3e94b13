package tart

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest/remote"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// prebuilder makes one golden machine.
type prebuilder struct {
	*Backend
	stage.Place
	recipe   image.Recipe
	progress image.Progress
}

// prebuild leaves a machine that is off, or saved, and not yet golden by name.
func (p prebuilder) prebuild(ctx context.Context) (about, error) {
	made, err := p.fetch(ctx)
	if err != nil {
		return made, err
	}
	release, err := p.slots(ctx, made.OS, "")
	if err != nil {
		return made, err
	}
	defer release()
	p.progress("boot", "")
	m, err := p.launch(p.ID, p.Dir, runArguments(p.ID, p.options.Settings, false), func() {})
	if err != nil {
		return made, err
	}
	if made.Keys, err = p.inside(ctx, m); err != nil {
		return made, err
	}
	if err := m.awaitPowerOff(ctx); err != nil || !p.options.Suspendable {
		return made, err
	}
	p.progress("suspend", "")
	made.Suspended = true
	return made, p.suspend(ctx, made)
}

// fetch makes the machine that is prebuilt, off, and with its hardware.
func (p prebuilder) fetch(ctx context.Context) (about, error) {
	source, remote := p.recipe.Source.Location, p.recipe.Source.Kind == image.OCI
	if remote {
		there, err := p.cached(ctx, source)
		if err != nil {
			return about{}, err
		}
		if !there || p.options.Registry.Always {
			if err := p.pull(ctx, source, p.progress); err != nil {
				return about{}, err
			}
		}
	}
	p.progress("clone", source)
	if _, err := p.tool.do(ctx, nil, cloneArguments(source, p.ID, remote, p.options.Registry)...); err != nil {
		return about{}, err
	}
	cloned, err := p.tool.get(ctx, p.ID)
	if err != nil {
		return about{}, err
	}
	made := about{OS: cloned.OS}
	if remote {
		made.Pulled = p.pulled(ctx, source)
	}
	if err := p.fits(cloned.OS); err != nil {
		return made, err
	}
	if cloned.State == suspended { // what it was doing does not matter
		if _, err := p.tool.do(ctx, nil, "stop", p.ID); err != nil {
			return made, err
		}
	}
	return made, p.set(ctx, cloned)
}

// fits refuses settings that the image's system does not have.
func (p prebuilder) fits(system string) error {
	var wrong []error
	if p.options.Suspendable && system != macOS {
		wrong = append(wrong, fmt.Errorf("tart.suspendable: Tart suspends macOS guests only, and image.source %q is %s: remove one of the two",
			p.recipe.Source.Location, system))
	}
	if p.options.Settings.Nested && system == macOS {
		wrong = append(wrong, fmt.Errorf("tart.nested: Tart nests machines in Linux guests only, and image.source %q is %s: remove one of the two",
			p.recipe.Source.Location, system))
	}
	return errors.Join(wrong...)
}

func (p prebuilder) set(ctx context.Context, cloned details) error {
	size, err := p.size(backend.Size{CPUs: p.recipe.CPUs, Memory: p.recipe.Memory})
	if err != nil {
		return err
	}
	h := hardware{CPUs: size.CPUs, Memory: size.Memory, Serial: p.options.RandomSerial && cloned.OS == macOS}
	if gb := int((p.recipe.Disk + 1e9 - 1) / 1e9); gb > cloned.Disk { // a disk may only grow
		h.DiskGB = gb
	}
	_, err = p.tool.do(ctx, nil, setArguments(p.ID, h)...)
	return err
}

// inside does what is done in the guest, up to its agreement to power off.
func (p prebuilder) inside(ctx context.Context, m *machine) (remote.Keys, error) {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	first := remote.Login{User: p.options.User, Password: p.options.Password}
	_, keys, err := remote.MakeGolden(ctx, p.locate(p.ID), first, p.recipe, p.progress)
	return keys, err
}

func (m *machine) awaitPowerOff(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, powerOffLimit, fmt.Errorf("the guest did not power off within %s", powerOffLimit))
	defer cancel()
	select {
	case <-m.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !m.succeeded() {
		return fmt.Errorf("the guest was sealed, but did not end as it should: %w", m.Err())
	}
	return nil
}

// suspend boots the sealed machine once more, and saves it with its memory as
// soon as it answers.
func (p prebuilder) suspend(ctx context.Context, made about) error {
	m, err := p.launch(p.ID, p.Dir, runArguments(p.ID, p.options.Settings, true), func() {})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, suspendLimit, errors.New("suspending the image took too long"))
	defer cancel()
	if err := p.awaitGuest(ctx, m, made); err != nil {
		return err
	}
	if _, err := p.tool.do(ctx, nil, "suspend", p.ID); err != nil {
		return err
	}
	select {
	case <-m.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for {
		now, err := p.tool.get(ctx, p.ID)
		if err != nil || now.State == suspended {
			return err
		}
		select {
		case <-time.After(look):
		case <-ctx.Done():
			return fmt.Errorf("%w: the machine is %s", context.Cause(ctx), now.State)
		}
	}
}

func (p prebuilder) awaitGuest(ctx context.Context, m *machine, made about) error {
	ctx, cancel := backend.WhileRunning(ctx, m)
	defer cancel()
	g, _, err := remote.Wait(ctx, p.locate(p.ID), made.Keys.Login())
	if err != nil {
		return err
	}
	return g.Close()
}
