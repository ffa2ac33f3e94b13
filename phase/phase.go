// Package phase names the parts of a worker's start, and has a context carry a
// function that is called at the end of each. Measuring is that function's
// business.
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

// listener is the key of the context's value.
type listener struct{}

// With returns a context whose work calls ended with the name of each part that
// has ended. A context carries the function, as in net/http/httptrace, because few
// callers want to know and no result depends on it.
func With(ctx context.Context, ended func(part string)) context.Context {
	return context.WithValue(ctx, listener{}, ended)
}

// Ended tells the listener of ctx, if there is one, that a part has ended.
func Ended(ctx context.Context, part string) {
	if ended, ok := ctx.Value(listener{}).(func(string)); ok {
		ended(part)
	}
}
