package host

// ownProgram is the program that this process runs, which is the guest agent too. An
// upgrade may have put another one where it was started from: this is still the one that
// the digests of images are made of.
func ownProgram() (string, error) { return "/proc/self/exe", nil }
