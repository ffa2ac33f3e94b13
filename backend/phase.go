package backend

import "context"

// Parts of a start, as far as a way of starting has them, in their order. Where
// a fork failed and a clone was booted in its place, each counts twice.
const (
	PhaseDisk     = "disk"     // its disk was made
	PhaseProcess  = "process"  // its process was started
	PhaseRestore  = "restore"  // it has the template's state
	PhaseContinue = "continue" // its processors were let run
	PhaseIdentity = "identity" // it has said that it has its identity
)

type phases struct{}

// WithPhases returns a context that has the work done with it call ended
// whenever a part of it ends. It is a matter of the context, as net/http's
// httptrace is, because only few want to know, and nothing depends on it.
func WithPhases(ctx context.Context, ended func(phase string)) context.Context {
	return context.WithValue(ctx, phases{}, ended)
}

// PhaseEnded says that a part has ended, to whom it may concern.
func PhaseEnded(ctx context.Context, phase string) {
	if ended, ok := ctx.Value(phases{}).(func(string)); ok {
		ended(phase)
	}
}
