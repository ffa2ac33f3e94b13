//go:build linux

package qemu

import (
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
)

// BenchmarkReady measures, side by side in one run, how long a worker takes
// from Start to a job's first command: -benchtime 5x is enough.
func BenchmarkReady(b *testing.B) {
	f := newForks(b, "bench")
	for _, how := range []string{backend.Clone, backend.Fork} {
		b.Run(how, func(b *testing.B) {
			f.options.Fork = how == backend.Fork
			f.Backend = f.again()
			for b.Loop() {
				w, err := f.start(b, 0)
				require.NoError(b, err)
				require.Equal(b, how, w.How())
				b.StopTimer()
				f.remove(b, w.ID())
				b.StartTimer()
			}
		})
	}
}
