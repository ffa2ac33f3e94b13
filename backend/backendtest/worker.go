package backendtest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
)

// worker is a machine with what the host knows of it.
type worker struct {
	backend.Machine
	identity guest.Identity
	key      pool.Key
}

// prepare reserves a worker, and removes it when the test ends.
func (b *bench) prepare(t *testing.T, id string) (backend.Spec, pool.Key) {
	t.Helper()
	dir, err := b.store.Reserve(id)
	require.NoError(t, err)
	t.Cleanup(func() { b.remove(t, id) })
	lease, err := b.Network.Acquire(b.context(t), id)
	require.NoError(t, err)
	identity, key, err := access.SSH{}.New(id, b.Recipe.User)
	require.NoError(t, err)
	return backend.Spec{
		ID: id, Dir: dir, Size: backend.Size{CPUs: b.CPUs, Memory: b.Memory}, Lease: lease, Identity: identity,
	}, key
}

// remove is what the pool's teardown does.
func (b *bench) remove(t *testing.T, id string) {
	ctx, cancel := context.WithTimeout(context.Background(), b.Patience)
	defer cancel()
	require.NoError(t, b.Backend.Destroy(ctx, id))
	require.NoError(t, b.Network.Release(ctx, id))
	require.NoError(t, b.store.Remove(id))
}

// start makes a worker; the context of its start ends with start.
func (b *bench) start(t *testing.T, id string) worker {
	t.Helper()
	golden := b.golden(t)
	spec, key := b.prepare(t, id)
	ctx, cancel := context.WithTimeout(t.Context(), b.Patience)
	defer cancel()
	machine, err := b.Backend.Start(ctx, golden, spec)
	require.NoError(t, err)
	return worker{machine, spec.Identity, key}
}

// ready waits until the worker lets its own key in.
func (b *bench) ready(t *testing.T, w worker) {
	t.Helper()
	require.NoError(t, access.SSH{}.Ready(b.context(t), w.Address(), w.identity, w.key))
}

// run runs a command on a worker that is ready.
func (b *bench) run(t *testing.T, w worker, command string) {
	t.Helper()
	signer, err := ssh.ParsePrivateKey([]byte(w.key))
	require.NoError(t, err)
	client, err := ssh.Dial("tcp", w.Address().String(), &ssh.ClientConfig{
		User: w.identity.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, Timeout: b.Patience,
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // ready has looked at it
	})
	require.NoError(t, err)
	defer client.Close()
	session, err := client.NewSession()
	require.NoError(t, err)
	defer session.Close()
	out, err := session.CombinedOutput(command)
	require.NoError(t, err, "%s: %s", command, out)
}

// found lists the ids that a backend finds.
func (b *bench) found(t *testing.T, in backend.Backend) []string {
	t.Helper()
	machines, err := in.Find(b.context(t))
	require.NoError(t, err)
	ids := make([]string, len(machines))
	for i, machine := range machines {
		ids[i] = machine.ID()
	}
	return ids
}

// ends waits until a machine says that it has ended.
func (b *bench) ends(t *testing.T, machine backend.Machine) {
	t.Helper()
	select {
	case <-machine.Done():
	case <-time.After(b.Patience):
		require.Fail(t, "machine has not ended", machine.ID())
	}
	require.ErrorIs(t, machine.Err(), backend.ErrGone)
}
