//go:build linux

package nspawn

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/backendtest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

func TestConformance(t *testing.T) {
	for name, dir := range fileSystems {
		t.Run(name, func(t *testing.T) {
			backendtest.Run(t, func(t *testing.T) backendtest.Harness {
				h := harness(t, dir, "conform")
				h.Other = func(t *testing.T) backendtest.Harness { return harness(t, dir, "other") }
				return h
			})
		})
	}
}

func newHarness(p *pool, recipe image.Recipe) backendtest.Harness {
	return backendtest.Harness{
		Backend: p.Backend,
		Again:   func(*testing.T) backend.Backend { return p.again() },
		Kill:    func(t *testing.T, id string) { killSupervisor(t, p.Backend, id) },
		Fill:    sandbox.Fill,
		Name:    p.name, Dir: p.dir, Network: p.network,
		Recipe: recipe, CPUs: 1, Memory: 256 << 20,
	}
}

// killSupervisor kills systemd-nspawn and nothing else.
func killSupervisor(t *testing.T, b *Backend, id string) {
	t.Helper()
	found, err := b.tag.Find(id)
	require.NoError(t, err)
	require.Len(t, found, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, found[0].Kill(ctx))
}

func TestWorkersHaveWhatUsersExpect(t *testing.T) {
	p, recipe := newPool(t, ext4Dir, "expected")
	backendtest.Expected(t, p.start(t, recipe, "aaaaaaaa"))
}
