package lines

import (
	"io"
	"sync"
)

// Serial lets several write to one place at the same time, such as both outputs of a
// command.
func Serial(to io.Writer) io.Writer { return &serial{to: to} }

type serial struct {
	mu sync.Mutex
	to io.Writer
}

func (s *serial) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to.Write(p)
}
