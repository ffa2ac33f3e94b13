//go:build !linux

package access

import "net/netip"

// connected is what it is on Linux where it cannot be found out: there may be a
// connection, and the runner notices what becomes of it.
func connected(netip.AddrPort) bool { return true }
