package backendtest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
)

// Worker is a machine with what the host knows of it.
type Worker struct {
	backend.Machine
	Identity guest.Identity
	Key      pool.Key
}

// Start makes a worker for a test beside the suite, which has made its lease if
// it has one; the end of the test destroys it. The identity is made here.
func Start(ctx context.Context, t testing.TB, b backend.Backend, golden image.Golden, spec backend.Spec) (w Worker, err error) {
	t.Helper()
	require.NoError(t, os.MkdirAll(spec.Dir, 0o700))
	t.Cleanup(func() { assert.NoError(t, b.Destroy(context.Background(), spec.ID)) })
	spec.Identity, w.Key, err = access.SSH{}.New(spec.ID, golden.Recipe.User)
	require.NoError(t, err)
	spec.Identity.Link = guest.LinkOf(spec.Lease)
	w.Identity = spec.Identity
	w.Machine, err = b.Start(ctx, golden, spec)
	return w, err
}

// Ready waits until the worker lets its own key in.
func (w Worker) Ready(ctx context.Context) error {
	return access.SSH{}.Ready(ctx, w.Address(), w.Identity, w.Key)
}

// dialLimit bounds how long a worker that is ready takes to be reached.
const dialLimit = time.Minute

// Dial logs in to a worker that is ready.
func (w Worker) Dial() (*ssh.Client, error) {
	key, err := ssh.ParsePrivateKey([]byte(w.Key))
	if err != nil {
		return nil, err
	}
	host, _, _, _, err := ssh.ParseAuthorizedKey([]byte(w.Identity.HostKeyPublic))
	if err != nil {
		return nil, err
	}
	return ssh.Dial("tcp", w.Address().String(), &ssh.ClientConfig{
		User: w.Identity.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, Timeout: dialLimit,
		HostKeyCallback: ssh.FixedHostKey(host), HostKeyAlgorithms: []string{host.Type()},
	})
}

// Run runs a command as a job does on a worker that is ready, and returns all
// that it printed.
func (w Worker) Run(command string) (output string, err error) {
	client, err := w.Dial()
	if err != nil {
		return "", err
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	defer session.Close()
	printed, err := session.CombinedOutput(command)
	return string(printed), err
}

// Output is Run of a command that must not fail.
func (w Worker) Output(t testing.TB, command string) string {
	t.Helper()
	output, err := w.Run(command)
	require.NoError(t, err, "%s: %s", command, output)
	return output
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
	identity.Link = guest.LinkOf(lease)
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
func (b *bench) start(t *testing.T, id string) Worker {
	t.Helper()
	golden := b.golden(t)
	spec, key := b.prepare(t, id)
	ctx, cancel := context.WithTimeout(t.Context(), b.Patience)
	defer cancel()
	machine, err := b.Backend.Start(ctx, golden, spec)
	require.NoError(t, err)
	return Worker{machine, spec.Identity, key}
}

// ready waits until the worker lets its own key in.
func (b *bench) ready(t *testing.T, w Worker) {
	t.Helper()
	require.NoError(t, w.Ready(b.context(t)))
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
	require.ErrorIs(t, machine.Err(), guest.ErrGone)
}
