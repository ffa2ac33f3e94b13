package config

func (r rawFork) parse(m *Errors, to *Fork) {
	set(m, r.enabled, &to.Enabled, asGiven)
	set(m, r.shareMemory, &to.ShareMemory, asGiven)
}

// asGiven is for values that cannot be wrong once they have the right type.
func asGiven(value bool) (bool, error) { return value, nil }
