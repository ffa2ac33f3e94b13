package prebuild

import "testing"

// What cloud-init says is the guest's word: each error is shown or fatal, none lost.
func FuzzSortErrors(f *testing.F) {
	f.Add("('locale', ProcessExecutionError('x'))", "('users_groups', ValueError('x'))")
	f.Add("('", "('')\x1b[2J")
	f.Fuzz(func(t *testing.T, one, other string) {
		shown := 0
		fatal := sortErrors([]string{one, other}, func(string, string) { shown++ })
		if shown+len(fatal) != 2 {
			t.Errorf("%q and %q: %d shown, %d fatal", one, other, shown, len(fatal))
		}
	})
}
