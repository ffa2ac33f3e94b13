package config

// Nspawn says what is special to containers.
type Nspawn struct {
	// PrivateUsers gives containers a user namespace, in which root is nobody
	// on this host.
	PrivateUsers bool
}

type rawNspawn struct{ privateUsers given[bool] }

type writtenNspawn struct {
	PrivateUsers bool `json:"private_users"`
}

func readNspawn(t *table) rawNspawn {
	return rawNspawn{privateUsers: t.flag("private_users", `true`)}
}

func (r rawNspawn) parse(m *Errors, to *Nspawn) {
	set(m, r.privateUsers, &to.PrivateUsers, asGiven)
}
