//go:build linux

package netlinkdump

import (
	"bytes"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// RuleCount returns how many rules the chains of a table of nftables have, by
// chain. A table that is not there has none. It reads no rule: package nftables
// does not understand all of them.
func RuleCount(family uint8, table string) (map[string]int, error) {
	return repeat("rules of nftables table "+table, func() (map[string]int, error) {
		request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP)
		request.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: unix.NFNETLINK_V0})
		request.AddData(nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated(table)))
		answers, err := request.Execute(unix.NETLINK_NETFILTER, 0)
		if err != nil {
			return nil, err
		}
		counts := make(map[string]int)
		for _, answer := range answers {
			attributes, err := nl.ParseRouteAttr(answer[nl.SizeofNfgenmsg:])
			if err != nil {
				return nil, fmt.Errorf("reading a rule: %w", err)
			}
			for _, a := range attributes {
				if a.Attr.Type == unix.NFTA_RULE_CHAIN {
					counts[string(bytes.TrimRight(a.Value, "\x00"))]++
				}
			}
		}
		return counts, nil
	})
}
