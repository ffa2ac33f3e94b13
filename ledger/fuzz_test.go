package ledger

import (
	"os"
	"path/filepath"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
)

// FuzzRead has a stranger write a ledger: what is read of it is in the bounds, and can be
// written and put together.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"at":"2026-11-30T03:00:00Z","worker":"p-aaaaaaaa","kind":"worked","job":{"id":7,"name":"\u001b[2J"}}` + "\n"))
	f.Add([]byte(`{"at":"2026-11-30T03:00:00Z","worker":"p-aaaaaaaa","kind":"used","usage":{"denied_to":[{"to":"a"}]}}` + "\n"))
	f.Add([]byte("\n\x00{}\n[]\nnull\n{\"at\":1}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(segmentPath(dir, 1), text, 0o600))
		copied, err := Open(filepath.Join(dir, "copy"))
		require.NoError(t, err)
		defer copied.Close()
		var histories Histories
		events := all(t, dir)
		for _, e := range events {
			require.NoError(t, e.check())
			for _, said := range texts(e) {
				for _, r := range said {
					require.True(t, unicode.IsGraphic(r), "%q", said)
				}
			}
			histories.Add(e)
		}
		for _, w := range histories.Workers() {
			require.GreaterOrEqual(t, w.Took(time.Now()), time.Duration(0))
			w.Phase()
		}
	})
}

// texts are all of an event that is shown to a person.
func texts(e Event) []string {
	all := []string{e.Reason, e.How, e.Image, e.Phase, e.Worker, string(e.Kind)}
	if e.Job != nil {
		all = append(all, e.Job.Project, e.Job.Name)
	}
	if e.Usage != nil {
		for _, d := range e.Usage.DeniedTo {
			all = append(all, d.Protocol, d.To)
		}
	}
	return all
}
