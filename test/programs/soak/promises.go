//go:build linux

package main

import (
	"fmt"

	"gitlab.com/gitlab-org/fleeting/fleeting/provider"
)

// promises are what the plugin processes of one pool have told their runner of
// workers, one process after the other. A runner relies on them: an id that it
// never sees, that it first sees as deleted, or that comes back, wedges it.
type promises struct {
	// granted is how many workers this process has promised, shown how many ids it
	// has shown since.
	granted, shown int
	states         map[string]provider.State
	// asked are the workers that something was asked of which the state does not
	// show yet.
	asked map[string]bool
	// gone are the ids that must not be seen any more.
	gone map[string]bool
	// kept are suspended workers of the process before that have not been shown yet;
	// those that must be there are true.
	kept map[string]bool
}

func newPromises() *promises {
	return &promises{
		states: make(map[string]provider.State), asked: make(map[string]bool),
		gone: make(map[string]bool), kept: make(map[string]bool),
	}
}

// grant notes what Increase returned.
func (p *promises) grant(n int) { p.granted += n }

// ask notes that workers were asked to change.
func (p *promises) ask(ids []string) {
	for _, id := range ids {
		p.asked[id] = true
	}
}

// update holds what Update has shown against what was promised.
func (p *promises) update(now map[string]provider.State) (broken []error) {
	complain := func(format string, args ...any) { broken = append(broken, fmt.Errorf(format, args...)) }
	for id, state := range now {
		before, known := p.states[id]
		_, adopted := p.kept[id]
		switch {
		case p.gone[id]:
			complain("worker %s, which was gone, is shown as %s", id, state)
		case adopted && state != provider.StateSuspended:
			complain("worker %s, which an earlier process suspended, is %s", id, state)
		case !known && !adopted && state == provider.StateDeleted:
			complain("worker %s is shown as deleted before anything else", id)
		case before == provider.StateDeleted:
			complain("worker %s is shown after it was shown as deleted", id)
		}
		if !known && !adopted {
			p.shown++
		}
		p.states[id] = state
		delete(p.kept, id)
	}
	if p.shown > p.granted {
		complain("%d workers were shown, and %d promised", p.shown, p.granted)
	}
	for id, must := range p.kept {
		if must {
			complain("suspended worker %s is lost", id)
		}
		p.gone[id] = true
	}
	clear(p.kept)
	for id, state := range p.states {
		if _, reported := now[id]; reported {
			continue
		}
		if state != provider.StateDeleted {
			complain("worker %s, which was %s, is shown no more, and was never shown as deleted", id, state)
		}
		p.forget(id)
	}
	return broken
}

func (p *promises) forget(id string) {
	delete(p.states, id)
	delete(p.asked, id)
	p.gone[id] = true
}

// end notes that the process has ended: only suspended workers outlive it.
func (p *promises) end() {
	for id, state := range p.states {
		switch {
		case state == provider.StateSuspended && !p.asked[id]:
			p.kept[id] = true
		case state == provider.StateSuspended, state == provider.StateSuspending, state == provider.StateResuming,
			state == provider.StateRunning && p.asked[id]:
			p.kept[id] = false
		default:
			p.gone[id] = true
		}
	}
	clear(p.states)
	clear(p.asked)
	p.granted, p.shown = 0, 0
}

// settled says what is not as it is to be when nothing is under way any more.
func (p *promises) settled() (broken []error) {
	if p.shown != p.granted {
		broken = append(broken, fmt.Errorf("%d workers were promised, and %d shown", p.granted, p.shown))
	}
	clear(p.asked)
	return broken
}

// in returns the workers in one of the states.
func (p *promises) in(states ...provider.State) (ids []string) {
	for id, state := range p.states {
		for _, wanted := range states {
			if state == wanted {
				ids = append(ids, id)
			}
		}
	}
	return ids
}
