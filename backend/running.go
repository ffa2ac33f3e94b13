package backend

import "context"

// WhileRunning is ctx, ended as well when the machine ends, with its reason. The
// caller cancels it.
func WhileRunning(ctx context.Context, m Machine) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-m.Done():
			cancel(m.Err())
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}
