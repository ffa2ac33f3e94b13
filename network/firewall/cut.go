//go:build linux

package firewall

import "gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"

// CutTable is there, in a worker's namespace, as long as the worker is cut off.
const CutTable = "mayfly-cut"

// Cut returns the rules that keep a guest from everybody, its own gateway included.
// Only the kernel's answers to its ARP requests come through: they say the same in
// every namespace. No virtual machine monitor has a part in it, so that it holds
// whatever moves the packets.
func Cut() Table {
	return Table{name: CutTable, chains: []chain{
		{name: "prerouting", at: preroutingRaw, rules: []rule{fromGuest().do(drop{})}},
		{name: "postrouting", at: postroutingMangle, rules: []rule{when(oifname{name: network.TAP}).do(drop{})}},
	}}
}
