//go:build linux

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gitlab.com/gitlab-org/fleeting/fleeting/provider"
)

type states = map[string]provider.State

const (
	creating   = provider.StateCreating
	running    = provider.StateRunning
	suspending = provider.StateSuspending
	suspended  = provider.StateSuspended
	deleting   = provider.StateDeleting
	deleted    = provider.StateDeleted
)

func TestKeptPromises(t *testing.T) {
	p := newPromises()
	p.grant(2)
	require.Empty(t, p.update(states{"a": creating, "b": creating}))
	require.Empty(t, p.update(states{"a": running, "b": running}))
	p.ask([]string{"b"}, suspended)
	require.Empty(t, p.update(states{"a": running, "b": suspending}))
	require.Equal(t, []string{"worker b is suspending"}, p.moving())
	p.dismiss([]string{"a"})
	p.refuse([]string{"a"}, suspended)
	require.Empty(t, p.update(states{"a": running, "b": suspended}))
	require.Equal(t, []string{"worker a is running"}, p.moving())
	require.Empty(t, p.update(states{"a": deleted, "b": suspended}))
	require.Empty(t, p.update(states{"b": suspended}))
	require.Empty(t, p.moving())
	require.Empty(t, p.settled())
	require.Equal(t, []string{"b"}, p.in(running, suspended))
	p.end()
	require.Empty(t, p.update(states{"b": suspended}), "it outlives its process")
}

func TestBrokenPromises(t *testing.T) {
	for name, test := range map[string]struct {
		shown []states
		says  string
	}{
		"first seen as deleted":   {[]states{{"a": deleted}}, "before anything else"},
		"ends unasked":            {[]states{{"a": running}, {"a": deleting}}, "is deleting, and nobody asked"},
		"ends unasked, at once":   {[]states{{"a": running}, {"a": deleted}}, "is deleted, and nobody asked"},
		"first seen as it ends":   {[]states{{"a": deleting}}, "is deleting, and nobody asked"},
		"never shown as deleted":  {[]states{{"a": running}, {}}, "shown no more"},
		"nobody asked for it":     {[]states{{"a": creating, "b": creating}}, "2 workers were shown, and 1 promised"},
		"suspended, and then not": {[]states{{"a": suspended}, nil, {}}, "lost"},
		"outlives its process":    {[]states{{"a": running}, nil, {"a": running}}, "was gone"},
		"runs after a restart":    {[]states{{"a": suspended}, nil, {"a": running}}, "which an earlier process suspended"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPromises()
			p.grant(1)
			requireBroken(t, test.says, p, test.shown...)
		})
	}
	for name, test := range map[string]struct {
		shown []states
		says  string
	}{
		"deleted twice": {[]states{{"a": deleted}, {"a": deleted}}, "after it was shown"},
		"comes back":    {[]states{{"a": deleted}, {}, {"a": running}}, "was gone"},
	} {
		t.Run(name, func(t *testing.T) {
			p := one(t, running)
			p.dismiss([]string{"a"})
			requireBroken(t, test.says, p, test.shown...)
		})
	}
	t.Run("never shown", func(t *testing.T) {
		p := newPromises()
		p.grant(1)
		require.Empty(t, p.update(nil))
		require.ErrorContains(t, p.settled()[0], "1 workers were promised, and 0 shown")
	})
}

// one is the promise of one worker, which is in a state.
func one(t *testing.T, state provider.State) *promises {
	t.Helper()
	p := newPromises()
	p.grant(1)
	require.Empty(t, p.update(states{"a": state}))
	return p
}

// requireBroken shows states one after the other, nil for the end of the process,
// and requires that the last one breaks a promise and none before it does.
func requireBroken(t *testing.T, says string, p *promises, shown ...states) {
	t.Helper()
	for i, now := range shown {
		if now == nil {
			p.end()
			continue
		}
		broken := p.update(now)
		if i < len(shown)-1 {
			require.Empty(t, broken)
			continue
		}
		require.NotEmpty(t, broken)
		require.ErrorContains(t, broken[0], says)
	}
}

func TestAFullDiskExcusesEndsUntilAllIsQuiet(t *testing.T) {
	p := newPromises()
	p.grant(2)
	require.Empty(t, p.update(states{"a": running, "b": running}))
	p.excuse()
	require.Empty(t, p.update(states{"a": deleting, "b": running}))
	require.Empty(t, p.update(states{"a": deleted, "b": running}))
	require.Empty(t, p.settled())
	requireBroken(t, "worker b is deleting, and nobody asked", p, states{"b": deleting})
}

func TestARefusalIsForThoseThatEnd(t *testing.T) {
	p := one(t, running)
	p.refuse([]string{"a"}, suspended)
	requireBroken(t, "worker a, which is running, refused to be suspended", p, states{"a": running})
	require.Empty(t, p.update(states{"a": running}), "once is enough")
	p.excuse()
	p.refuse([]string{"a"}, suspended)
	require.Empty(t, p.update(states{"a": deleting}))
}

func TestAnAgreedChangeIsMade(t *testing.T) {
	p := one(t, running)
	p.ask([]string{"a"}, suspended)
	require.Empty(t, p.update(states{"a": running}))
	broken := p.settled()
	require.Len(t, broken, 1)
	require.ErrorContains(t, broken[0], "worker a, which agreed to be suspended, is running")
	require.Empty(t, p.settled(), "once is enough")
}

func TestWorkersOnTheirWayMayBeKeptOrGoneAfterwards(t *testing.T) {
	for way, leave := range map[string]func(*promises){
		"asked to be resumed":   func(p *promises) { p.ask([]string{"a"}, running) },
		"asked to go":           func(p *promises) { p.dismiss([]string{"a"}) },
		"being deleted":         func(p *promises) { p.dismiss([]string{"a"}); p.update(states{"a": deleting}) },
		"asked to be suspended": func(p *promises) { p.update(states{"a": running}); p.ask([]string{"a"}, suspended) },
	} {
		for name, after := range map[string]states{"kept": {"a": suspended}, "gone": {}} {
			t.Run(way+", "+name, func(t *testing.T) {
				p := one(t, suspended)
				leave(p)
				p.end()
				require.Empty(t, p.update(after))
			})
		}
	}
}
