// Package backendtest is the suite that every backend passes, the synthetic
// one too. It knows the contract and nothing of any backend; what is special
// to one is tested beside it.
package backendtest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
)

// Harness is a backend with what it takes to put it through the suite.
type Harness struct {
	// Backend is the backend under test, with no machines.
	Backend backend.Backend
	// Again makes a second value of the backend for the same pool, as the next
	// plugin process would. It is nil for a backend whose machines live and
	// die with the process.
	Again func(t *testing.T) backend.Backend
	// Kill ends a worker's machine from outside, behind the backend's back.
	Kill func(t *testing.T, id string)
	// Other makes a harness of another pool on the same host, which shares all
	// that pools share.
	Other func(t *testing.T) Harness
	// Fill makes the file system of a worker's directory have no room, until
	// free is called; a worker that is started meanwhile must fail. It is nil
	// for a backend that writes nothing there.
	Fill func(t *testing.T, dir string) (free func())

	// Name begins the ids of workers, Dir is the pool's directory. Mind that
	// the path of a unix socket has little room.
	Name string
	Dir  string
	// Network is network.None{} when it is nil.
	Network network.Network
	// Recipe, CPUs and Memory say what workers are made from. A Recipe that is
	// built already saves a slow backend much time.
	Recipe image.Recipe
	CPUs   int
	Memory int64
	// Patience is how long a worker may take to be ready; a minute when it is 0.
	Patience time.Duration
}

// Run puts a backend through the suite. It asks for a new harness for each
// test; what they share, such as golden images, is the harness's choice.
func Run(t *testing.T, harness func(t *testing.T) Harness) {
	tests := []struct {
		name string
		run  func(*testing.T, *bench)
	}{
		{"Build makes one image of a recipe", testBuild},
		{"a worker answers with its own keys", testReady},
		{"a worker outlives the context of its start", testOutlivesStart},
		{"workers do not mix", testTwoWorkers},
		{"Find finds what exists", testFind},
		{"Find finds it without memory", testFindAgain},
		{"Destroy may be called twice", testDestroyTwice},
		{"Destroy knows no unknown worker", testDestroyUnknown},
		{"a machine that ends says so", testKilled},
		{"memory is told while a machine runs", testMemory},
		{"what it took, and for which job, is told", testAccount},
		{"a cancelled start leaves nothing", testCancelledStart},
		{"a start on a full disk fails and leaves nothing", testFullDisk},
		{"two pools know nothing of each other", testTwoPools},
		{"the console holds what the guest says there", testConsole},
		{"a cancelled build fails", testCancelledBuild},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, newBench(t, harness(t))) })
	}
}

// bench is a harness with the rest of what a pool would have.
type bench struct {
	Harness
	store *store.Store
}

func newBench(t *testing.T, h Harness) *bench {
	t.Helper()
	if h.Network == nil {
		h.Network = network.None{}
	}
	if h.Patience == 0 {
		h.Patience = time.Minute
	}
	s, err := store.Open(h.Dir)
	require.NoError(t, err)
	b := &bench{Harness: h, store: s}
	require.NoError(t, h.Network.Open(b.context(t)))
	t.Cleanup(func() { require.NoError(t, h.Network.Close(context.Background())) })
	return b
}

// context ends when the harness's patience does.
func (b *bench) context(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), b.Patience)
	t.Cleanup(cancel)
	return ctx
}

// golden builds the golden image. That has no time limit but the test's own:
// an emulated build takes minutes.
func (b *bench) golden(t *testing.T) image.Golden {
	t.Helper()
	golden, err := b.Backend.Build(t.Context(), b.Recipe, func(stage, line string) { t.Log(stage, line) })
	require.NoError(t, err)
	return golden
}

// id is the id of a worker: like the pool's, it ends in eight characters, but
// they need not be random here.
func (b *bench) id(end string) string { return b.Name + "-" + (end + "aaaaaaaa")[:8] }
