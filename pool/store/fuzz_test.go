package store

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// A record that is taken is one that this program could have written.
func FuzzRecord(f *testing.F) {
	sample, err := os.ReadFile("testdata/worker.v1.json")
	require.NoError(f, err)
	f.Add(sample)
	f.Add(sample[:len(sample)/2])
	f.Add([]byte(`{"version": 2, "id": {"of": "another shape"}}`))
	f.Add([]byte(`{"version":1,"id":"a-aaaaaaaa","address":"[::1%eth0]:22","created_at":"0000-01-01T00:00:00Z"}`))
	f.Add([]byte(`[[[[[[[[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		record, err := decode(text)
		if err != nil {
			return
		}
		require.Equal(t, RecordVersion, record.Version)
	})
}
