package tart

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/foreigntool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest/remote"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

const (
	// suspendLimit bounds the second boot of an image, up to a machine that is
	// saved.
	suspendLimit = 15 * time.Minute
	// statePoll is how often a machine that was suspended is asked for its state.
	statePoll = 500 * time.Millisecond
)

// prebuilder makes one golden machine.
type prebuilder struct {
	*Backend
	foreigntool.Prebuild
}

// prebuild leaves a machine that is off, or saved, and not yet golden by name.
func (b *Backend) prebuild(ctx context.Context, golden foreigntool.Prebuild) (imageNote, error) {
	p := prebuilder{b, golden}
	made, err := p.fetch(ctx)
	if err != nil {
		return made, err
	}
	release, err := p.slots(ctx, made.OS, "")
	if err != nil {
		return made, err
	}
	defer release()
	m, err := p.launch(p.ID, p.Dir, runArguments(p.ID, p.options.Settings, false), func() {})
	if err != nil {
		return made, err
	}
	first := remote.Login{User: p.options.User, Password: p.options.Password}
	if made.Note, err = p.Seal(ctx, m, p.locate(p.ID), first); err != nil {
		return made, err
	}
	if err := m.awaitPowerOff(ctx); err != nil || !p.options.Suspendable {
		return made, err
	}
	p.Progress("suspend", "")
	made.Suspended = true
	return made, p.suspend(ctx, made)
}

// fetch makes the machine that is prebuilt, off, and with its hardware.
func (p prebuilder) fetch(ctx context.Context) (imageNote, error) {
	source, remote := p.Recipe.Source.Location, p.Recipe.Source.Kind == image.OCI
	if remote {
		cached, err := p.tool.list(ctx, "oci")
		if err != nil {
			return imageNote{}, err
		}
		there := slices.ContainsFunc(cached, func(l listed) bool { return l.Name == source })
		if !there || p.options.Registry.Always {
			if err := p.pull(ctx, source, p.Progress); err != nil {
				return imageNote{}, err
			}
		}
	}
	p.Progress("clone", source)
	if _, err := p.tool.do(ctx, nil, cloneArguments(source, p.ID, remote, p.options.Registry)...); err != nil {
		return imageNote{}, err
	}
	cloned, err := p.tool.get(ctx, p.ID)
	if err != nil {
		return imageNote{}, err
	}
	made := imageNote{Note: foreigntool.Note{OS: cloned.OS}}
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
	source := p.Recipe.Source.Location
	unfit := func(rule string) error {
		return fmt.Errorf("%s, and image.source %q is %s: remove one of the two", rule, source, system)
	}
	switch {
	case p.options.Suspendable && system != macOS:
		return unfit("tart.suspendable: Tart suspends macOS guests only")
	case p.options.Settings.Nested && system == macOS:
		return unfit("tart.nested: Tart nests machines in Linux guests only")
	}
	return nil
}

func (p prebuilder) set(ctx context.Context, cloned details) error {
	size, err := p.size(backend.Size{CPUs: p.Recipe.CPUs, Memory: p.Recipe.Memory})
	if err != nil {
		return err
	}
	h := hardware{CPUs: size.CPUs, Memory: size.Memory, Serial: p.options.RandomSerial && cloned.OS == macOS}
	if gb := int((p.Recipe.Disk + 1e9 - 1) / 1e9); gb > cloned.Disk { // a disk may only grow
		h.DiskGB = gb
	}
	_, err = p.tool.do(ctx, nil, setArguments(p.ID, h)...)
	return err
}

func (m *machine) awaitPowerOff(ctx context.Context) error {
	ctx, cancel := foreigntool.UntilOff(ctx)
	defer cancel()
	select {
	case <-m.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !m.child.ProcessState.Success() {
		return fmt.Errorf("the guest was sealed, but did not end as it should: %w", m.Err())
	}
	return nil
}

// suspend boots the sealed machine once more, and saves it with its memory as
// soon as it answers.
func (p prebuilder) suspend(ctx context.Context, made imageNote) error {
	m, err := p.launch(p.ID, p.Dir, runArguments(p.ID, p.options.Settings, true), func() {})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, suspendLimit, errors.New("suspending the image took too long"))
	defer cancel()
	running, stop := backend.WhileRunning(ctx, m)
	defer stop()
	g, _, err := remote.Wait(running, p.locate(p.ID), made.Keys.Login())
	if err != nil {
		return err
	}
	if err := g.Close(); err != nil {
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
		case <-time.After(statePoll):
		case <-ctx.Done():
			return fmt.Errorf("%w: the machine is %s", context.Cause(ctx), now.State)
		}
	}
}
