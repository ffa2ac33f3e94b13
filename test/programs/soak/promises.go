//go:build linux

package main

import (
	"fmt"

	"gitlab.com/gitlab-org/fleeting/fleeting/provider"
)

// promises are what the plugin processes of one pool have told their runner of
// workers, one process after the other. A runner relies on them: an id that it
// never sees, that it first sees as deleted, or that comes back, wedges it, and a
// worker that ends unasked takes its job with it.
type promises struct {
	// granted is how many workers this process has promised, shown how many ids it
	// has shown since.
	granted, shown int
	states         map[string]provider.State
	// asked are the states that workers agreed to get to, and were not shown in yet.
	asked map[string]provider.State
	// refused are the states that workers refused to get to since the last Update.
	refused map[string]provider.State
	// dismissed are the workers that Decrease was called for.
	dismissed map[string]bool
	// excused says that workers may end unasked until all is quiet.
	excused bool
	// gone are the ids that must not be seen any more.
	gone map[string]bool
	// kept are suspended workers of the process before that have not been shown yet;
	// those that must be there are true.
	kept map[string]bool
}

func newPromises() *promises {
	return &promises{
		states: make(map[string]provider.State), asked: make(map[string]provider.State),
		refused: make(map[string]provider.State), dismissed: make(map[string]bool),
		gone: make(map[string]bool), kept: make(map[string]bool),
	}
}

// grant notes what Increase returned.
func (p *promises) grant(n int) { p.granted += n }

// dismiss notes that workers are asked to go.
func (p *promises) dismiss(ids []string) {
	for _, id := range ids {
		p.dismissed[id] = true
	}
}

// ask notes that workers agreed to get to a state.
func (p *promises) ask(ids []string, wanted provider.State) {
	for _, id := range ids {
		p.asked[id] = wanted
	}
}

// refuse notes that workers refused to get to a state. Those that are on their way
// out may do so.
func (p *promises) refuse(ids []string, wanted provider.State) {
	for _, id := range ids {
		p.refused[id] = wanted
	}
}

// excuse notes that something has happened to the host by which workers may end.
func (p *promises) excuse() { p.excused = true }

// ends says whether a worker in this state does not come back.
func ends(state provider.State) bool {
	return state == provider.StateDeleting || state == provider.StateDeleted
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
		case ends(state) && !ends(before) && !p.dismissed[id] && !p.excused:
			complain("worker %s is %s, and nobody asked for that", id, state)
		}
		if !known && !adopted {
			p.shown++
		}
		p.states[id] = state
		delete(p.kept, id)
		if p.asked[id] == state {
			delete(p.asked, id)
		}
	}
	if p.shown > p.granted {
		complain("%d workers were shown, and %d promised", p.shown, p.granted)
	}
	for id, wanted := range p.refused {
		if state, reported := now[id]; reported && !ends(state) && !p.dismissed[id] {
			complain("worker %s, which is %s, refused to be %s", id, state, wanted)
		}
	}
	clear(p.refused)
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
	delete(p.dismissed, id)
	p.gone[id] = true
}

// end notes that the process has ended: only suspended workers outlive it. Those
// that were on their way to that state or from it may do so. So may one that is being
// deleted: it may have been suspended, and its record may still say so.
func (p *promises) end() {
	for id, state := range p.states {
		_, asked := p.asked[id]
		switch {
		case state == provider.StateSuspended && !asked && !p.dismissed[id]:
			p.kept[id] = true
		case state == provider.StateSuspended, state == provider.StateSuspending, state == provider.StateResuming,
			state == provider.StateDeleting, asked:
			p.kept[id] = false
		default:
			p.gone[id] = true
		}
	}
	clear(p.states)
	clear(p.asked)
	clear(p.refused)
	clear(p.dismissed)
	p.granted, p.shown = 0, 0
}

// moving says which workers are on their way: to a state in which they rest, or out.
func (p *promises) moving() (moving []string) {
	for id, state := range p.states {
		rests := state == provider.StateRunning || state == provider.StateSuspended
		if !rests || p.dismissed[id] {
			moving = append(moving, fmt.Sprintf("worker %s is %s", id, state))
		}
	}
	return moving
}

// settled says what is not as it is to be when nothing is under way any more, and
// takes the excuse back.
func (p *promises) settled() (broken []error) {
	if p.shown != p.granted {
		broken = append(broken, fmt.Errorf("%d workers were promised, and %d shown", p.granted, p.shown))
	}
	for id, wanted := range p.asked {
		broken = append(broken, fmt.Errorf("worker %s, which agreed to be %s, is %s", id, wanted, p.states[id]))
	}
	clear(p.asked)
	p.excused = false
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
