package guest

import "errors"

// ErrFault is wrapped by errors of which the guest is the reason, and not the host:
// its kernel panicked, it ended by itself, it refused its identity, nobody answers
// in it. A machine that was killed from outside, or that the host could not make,
// is none.
var ErrFault = errors.New("the guest failed")

// Fault marks an error as the guest's. Its text stays as it is.
func Fault(err error) error { return fault{err} }

type fault struct{ error }

func (f fault) Unwrap() error        { return f.error }
func (f fault) Is(target error) bool { return target == ErrFault }
