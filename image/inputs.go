package image

// File is a file that an image gets besides those of its packages.
type File struct {
	// Path is where it is in the image, absolute.
	Path string `json:"path"`
	// Content is what it holds, unless From names a file of this host with that;
	// SHA256 is the digest of that file, so that another content makes another image.
	Content string `json:"content,omitempty"`
	From    string `json:"-"`
	SHA256  string `json:"sha256,omitempty"`
	// Mode are its permissions, Owner is "user" or "user:group"; empty is root.
	Mode  uint32 `json:"mode"`
	Owner string `json:"owner,omitempty"`
}

// Secret is a variable of the steps' environment of which the value is nowhere but in
// their memory. Its name is part of the image, since steps see it; its value and where
// that is from are not: a token that is changed makes no other image.
type Secret struct {
	Name string `json:"name"`
	// File is the path of a file of this host with the value, or Variable the name of a
	// variable of this process.
	File     string `json:"-"`
	Variable string `json:"-"`
}
