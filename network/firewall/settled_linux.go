package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ErrChanging says that the rules changed in each attempt to read them.
var ErrChanging = errors.New("others keep changing the rules while they are read")

// The attempts at reading rules that change meanwhile, and the pause after one
// that failed.
const (
	attempts = 10
	pause    = 20 * time.Millisecond
)

// Settled runs read until no rule of the calling thread's network namespace
// changes while it does. Every list of rules goes through here. The kernel
// answers a list in parts, and one list a chain, so that a change in between
// would show half of the old rules and half of the new, or fail; the library
// does not look at the flag that says so. The kernel counts its changes, and
// that tells.
func Settled[T any](read func() (T, error)) (T, error) {
	for range attempts {
		before, err := generation()
		if err != nil {
			return *new(T), err
		}
		result, failure := read()
		after, err := generation()
		if err != nil {
			return *new(T), err
		}
		if before == after {
			return result, failure
		}
		time.Sleep(pause)
	}
	return *new(T), ErrChanging
}

// generation returns how often the rules of the calling thread's network
// namespace have changed.
func generation() (uint32, error) {
	request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, 0)
	request.AddData(&nl.Nfgenmsg{Version: unix.NFNETLINK_V0})
	answers, err := request.Execute(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN)
	if err != nil {
		return 0, fmt.Errorf("asking for the generation of nftables' rules: %w", err)
	}
	for _, answer := range answers {
		attributes, err := nl.ParseRouteAttr(answer[nl.SizeofNfgenmsg:])
		if err != nil {
			return 0, fmt.Errorf("reading the generation of nftables' rules: %w", err)
		}
		for _, a := range attributes {
			if a.Attr.Type == unix.NFTA_GEN_ID && len(a.Value) == 4 {
				return binary.BigEndian.Uint32(a.Value), nil
			}
		}
	}
	return 0, errors.New("the kernel does not say the generation of nftables' rules")
}
