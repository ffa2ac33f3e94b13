//go:build linux

package netlinkdump

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

// pause is how long to wait before rules that changed are read again.
const pause = 20 * time.Millisecond

// Settled runs read, which lists rules or sets of nftables, until no rule of the
// calling thread's network namespace changes while it does. Each chain is a list
// of its own, so that a change in between would show half of the old rules and
// half of the new, or make read fail. Package nftables does not look at the flag
// of an interrupted dump; the kernel counts its changes, and that count is
// compared.
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
