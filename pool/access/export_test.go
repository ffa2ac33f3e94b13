package access

import (
	"context"
	"net"
)

// WithDial is access by SSH over what dial returns.
func WithDial(dial func(ctx context.Context, network, address string) (net.Conn, error)) SSH {
	return SSH{dial: dial}
}
