//go:build linux

package qemu

import (
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
)

// TestStock starts workers from stock: one as it should be, one whose machine
// was killed there, one of a template that has gone, and one that nobody wants.
func TestStock(t *testing.T) {
	f := newForks(t, "stock")
	f.ownTemplate(t)
	require.True(t, f.Stockable(t.Context(), f.golden, f.size))
	require.False(t, f.Stockable(t.Context(), f.golden, backend.Size{CPUs: 3, Memory: f.size.Memory}))
	for n, test := range []struct {
		what  string
		spoil func(id string)
		how   string
	}{
		{"as it should be", func(string) {}, backend.Fork},
		{"killed", func(id string) {
			waiting := f.driver.of(id)
			killFromOutside(t, f.tag().Value(id))
			<-waiting.process.Done() // the backend knows a moment after the kernel
		}, backend.Fork},
		{"without a template", func(string) { require.NoError(t, f.shelf().Clear()) }, backend.Clone},
	} {
		spec, key := f.spec(t, n)
		identity := spec.Identity
		spec.Identity.HostKey = "" // it has none yet
		require.NoError(t, f.Stock(t.Context(), f.golden, spec), test.what)
		waiting := f.driver.of(spec.ID)
		test.spoil(spec.ID)
		spec.Identity = identity
		w, err := f.begin(t.Context(), spec, key)
		require.NoError(t, err, test.what)
		require.Equal(t, test.how, w.How(), test.what)
		require.Equal(t, n == 0, f.driver.of(w.ID()) == waiting, test.what)
	}
	spec, _ := f.spec(t, 9)
	require.ErrorContains(t, f.Stock(t.Context(), f.golden, spec), "no template")

	f.options.TemplatesDir = templatesDir()
	f.Backend = f.again()
	require.NoError(t, f.Stock(t.Context(), f.golden, spec))
	found, err := f.Find(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 4)
	require.NoError(t, f.Destroy(t.Context(), spec.ID))
}
