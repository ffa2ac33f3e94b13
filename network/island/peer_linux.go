package island

import (
	"fmt"

	"github.com/vishvananda/netlink"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// makePeer makes a veth device in the calling thread's network namespace whose
// other end lies beside it, with the guest's MAC, until a container takes it.
// It stays down until then: nothing answers for the guest in its place.
func makePeer(name string, mtu int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerMTU = network.Peer, mac(network.GuestMAC), uint32(mtu)
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("making veth devices %s and %s: %w", name, network.Peer, err)
	}
	return nil
}
