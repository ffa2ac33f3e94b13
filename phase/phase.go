// Package phase names the parts of a worker's start, and has a context carry a
// listener that is told of the end of each, and of why one takes its time. Measuring
// and telling others is the listener's business.
package phase

import "context"

// Parts of a start, in their order. A way of starting has some of them. Where a
// fork failed and a clone was booted in its place, a part may end twice.
const (
	Disk     = "disk"     // its disk was made
	Process  = "process"  // its process was started
	Restore  = "restore"  // it has the template's state
	Continue = "continue" // its processors run
	Identity = "identity" // it has said that it has its identity
)

// Listener is who wants to know.
type Listener interface {
	// Ended is told of each part that has ended.
	Ended(part string)
	// Hindered is told why the present part takes its time, such as that it was tried
	// and failed, and is tried again. It may be told the same many times.
	Hindered(reason string)
}

// key is that of the context's value.
type key struct{}

// With returns a context whose work tells the listener. A context carries it, as in
// net/http/httptrace, because few callers want to know and no result depends on it.
func With(ctx context.Context, listener Listener) context.Context {
	return context.WithValue(ctx, key{}, listener)
}

// Ended tells the listener of ctx, if there is one, that a part has ended.
func Ended(ctx context.Context, part string) {
	if listener, ok := ctx.Value(key{}).(Listener); ok {
		listener.Ended(part)
	}
}

// Hindered tells the listener of ctx, if there is one, why the present part takes its
// time.
func Hindered(ctx context.Context, reason error) {
	if listener, ok := ctx.Value(key{}).(Listener); ok {
		listener.Hindered(reason.Error())
	}
}

// Parts is a Listener to which only the ends of parts matter.
type Parts func(part string)

// Ended calls the function.
func (p Parts) Ended(part string) { p(part) }

// Hindered does nothing.
func (Parts) Hindered(string) {}
