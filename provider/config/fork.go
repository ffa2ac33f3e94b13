package config

import "fmt"

func (r rawFork) parse(m *Errors, to *Fork) {
	set(m, r.enabled, &to.Enabled, asGiven)
	set(m, r.shareMemory, &to.ShareMemory, asGiven)
	set(m, r.spares, &to.Spares, parseSpares)
}

// maxSpares is more than any host starts at once.
const maxSpares = 100

func parseSpares(n int64) (int, error) {
	if n < 0 || n > maxSpares {
		return 0, fmt.Errorf("%d is out of range: write a number from 0 to %d", n, maxSpares)
	}
	return int(n), nil
}

// asGiven is for values that cannot be wrong once they have the right type.
func asGiven(value bool) (bool, error) { return value, nil }
