//go:build !linux

package disk

// reflink is not used on systems whose backends bring their own copy-on-write.
func reflink(_, _ string) error { return errNoReflink }
