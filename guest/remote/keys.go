package remote

// Keys are how this host gets into the machines of one golden image, until
// they have an identity of their own, and how it knows them. They are secret.
type Keys struct {
	User string `json:"user"`
	// Key is the private key of User, HostKey the public host key.
	Key     string `json:"key"`
	HostKey string `json:"host_key"`
}

// Login is the login with these keys.
func (k Keys) Login() Login { return Login{User: k.User, Key: k.Key, HostKey: k.HostKey} }
