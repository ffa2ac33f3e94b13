// Package phase names the parts of a worker's start, and carries the news of
// their ends in a context. Measuring them is the business of whoever listens.
package phase

import "context"

// Parts of a start, as far as a way of starting has them, in their order. Where
// a fork failed and a clone was booted in its place, each counts twice.
const (
	Disk     = "disk"     // its disk was made
	Process  = "process"  // its process was started
	Restore  = "restore"  // it has the template's state
	Continue = "continue" // its processors were let run
	Identity = "identity" // it has said that it has its identity
)

// listener is the key of the context's value.
type listener struct{}

// With returns a context that has the work done with it call ended whenever a
// part of it ends. A context carries it, as it does for net/http/httptrace,
// because few callers want to know and no result depends on it.
func With(ctx context.Context, ended func(part string)) context.Context {
	return context.WithValue(ctx, listener{}, ended)
}

// Ended tells the listener of ctx, if there is one, that a part has ended.
func Ended(ctx context.Context, part string) {
	if ended, ok := ctx.Value(listener{}).(func(string)); ok {
		ended(part)
	}
}
