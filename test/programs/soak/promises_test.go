//go:build linux

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gitlab.com/gitlab-org/fleeting/fleeting/provider"
)

type states = map[string]provider.State

const (
	creating  = provider.StateCreating
	running   = provider.StateRunning
	suspended = provider.StateSuspended
	deleted   = provider.StateDeleted
)

func TestKeptPromises(t *testing.T) {
	p := newPromises()
	p.grant(2)
	for _, shown := range []states{
		{"a": creating, "b": creating}, {"a": running, "b": suspended}, {"a": deleted, "b": suspended}, {"b": suspended},
	} {
		require.Empty(t, p.update(shown))
	}
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
		"deleted twice":           {[]states{{"a": running}, {"a": deleted}, {"a": deleted}}, "after it was shown"},
		"never shown as deleted":  {[]states{{"a": running}, {}}, "shown no more"},
		"comes back":              {[]states{{"a": running}, {"a": deleted}, {}, {"a": running}}, "was gone"},
		"nobody asked for it":     {[]states{{"a": creating, "b": creating}}, "2 workers were shown, and 1 promised"},
		"suspended, and then not": {[]states{{"a": suspended}, nil, {}}, "lost"},
		"outlives its process":    {[]states{{"a": running}, nil, {"a": running}}, "was gone"},
		"runs after a restart":    {[]states{{"a": suspended}, nil, {"a": running}}, "which an earlier process suspended"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPromises()
			p.grant(1)
			var broken []error
			for _, shown := range test.shown {
				if shown == nil {
					p.end()
					continue
				}
				broken = p.update(shown)
			}
			require.NotEmpty(t, broken)
			require.ErrorContains(t, broken[0], test.says)
		})
	}
	t.Run("never shown", func(t *testing.T) {
		p := newPromises()
		p.grant(1)
		require.Empty(t, p.update(nil))
		require.ErrorContains(t, p.settled()[0], "1 workers were promised, and 0 shown")
	})
}

func TestWorkersThatWereAskedToChangeMayBeEitherWayAfterwards(t *testing.T) {
	for name, after := range map[string]states{"kept": {"a": suspended}, "gone": {}} {
		t.Run(name, func(t *testing.T) {
			p := newPromises()
			p.grant(1)
			require.Empty(t, p.update(states{"a": suspended}))
			p.ask([]string{"a"})
			p.end()
			require.Empty(t, p.update(after))
		})
	}
}
