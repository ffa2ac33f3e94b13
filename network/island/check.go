//go:build linux

package island

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/hostfirewall"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/netlinkdump"
)

// Check says what the host has and lacks for the pool's network. It changes
// nothing.
func (i *Island) Check(context.Context) []doctor.Finding {
	return append(i.findForeign(), i.findSubnet(), i.findEgress(), i.findFirewall(), findFlushes("/"))
}

// findFlushes looks at the configuration of the host's firewall below a root
// directory. Our rules are put back when it removes them, but workers are cut off
// for a moment, and what they have open then may break.
func findFlushes(root string) doctor.Finding {
	finding := doctor.Finding{
		Level: doctor.OK, What: "firewall reload", Detail: "no configuration of nftables removes the rules of others",
	}
	flushes, err := hostfirewall.Flushes(root)
	var said, mends []string
	for _, f := range flushes {
		said = append(said, fmt.Sprintf("%s says %q", f.File, f.Line))
		if mend := f.Instead(); !slices.Contains(mends, mend) {
			mends = append(mends, mend)
		}
	}
	var details []string
	if len(said) > 0 {
		details = append(details, "loading the firewall anew removes the rules around workers as well, "+
			"and cuts these off until the plugin has put them back: "+strings.Join(said, "; "))
	}
	if err != nil {
		details, mends = append(details, err.Error()), append(mends, "run as root, to read all of it")
	}
	if len(details) > 0 {
		finding.Level = doctor.Warning
		finding.Detail, finding.Mend = strings.Join(details, "; "), strings.Join(mends, "\n")
	}
	return finding
}

// findForeign tells of addresses that nobody gets because of what lies in the place
// of their files.
func (i *Island) findForeign() (findings []doctor.Finding) {
	for _, foreign := range i.book.Foreign() {
		findings = append(findings, doctor.Finding{
			Level: doctor.Warning, What: "addresses", Detail: foreign.Error(),
			Mend: "remove it: until then nobody gets that address",
		})
	}
	return findings
}

func (i *Island) findSubnet() doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "network.subnet"}
	if err := i.checkSubnet(); err != nil {
		finding.Level, finding.Detail = doctor.Missing, err.Error()
		finding.Mend = "set plugin_config.network.subnet to one that nothing on this host uses"
		return finding
	}
	finding.Detail = fmt.Sprintf("%s is free", i.options.Subnet)
	return finding
}

// findEgress also looks at forwarding, which each lease switches on for its
// own links and for the way out.
func (i *Island) findEgress() doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "network.egress"}
	out, err := i.egress()
	switch {
	case err != nil:
		finding.Level, finding.Detail = doctor.Missing, err.Error()
		finding.Mend = "set plugin_config.network.egress to an interface of this host, or leave it out"
		return finding
	case out.name == "":
		finding.Level = doctor.Warning
		finding.Detail = "this host has no default route: workers reach nothing outside it"
		finding.Mend = "give the host a default route, or set plugin_config.network.egress"
		return finding
	case i.options.IPv6.On && out.name6 == "":
		finding.Level = doctor.Warning
		finding.Detail = "this host has no default route for IPv6: workers reach nothing outside it by that"
		finding.Mend = "give the host IPv6, or set plugin_config.network.ipv6 to \"off\""
		return finding
	}
	state := "off, and switched on with the first worker"
	if on, err := isSet("conf", out.name, "forwarding"); err == nil && on {
		state = "on"
	}
	finding.Detail = fmt.Sprintf(
		"workers leave by %s, with an MTU of %d; IP forwarding there is %s", out.name, out.mtu, state)
	return finding
}

// findFirewall looks for rules of others that drop what workers send. No rule
// of ours can overrule them.
func (i *Island) findFirewall() doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "host firewall"}
	obstacles, err := i.obstacles()
	switch {
	case errors.Is(err, netlinkdump.ErrChanging):
		finding.Level, finding.Detail, finding.Mend = doctor.Warning, err.Error(), "run doctor again"
	case err != nil:
		finding.Level, finding.Detail = doctor.Missing, err.Error()
		finding.Mend = "run as root, on a kernel with nftables"
		finding.Command, finding.Safe = "modprobe nf_tables", true
	case len(obstacles) > 0:
		finding.Level, finding.Detail = doctor.Warning, describe(obstacles)
		// The remedy is for the links of all pools. One pool's would do, but then
		// each pool that comes and goes would need a change of the host's firewall,
		// and what our links may do is decided by our own rules.
		finding.Mend = hostfirewall.Remedy(obstacles, firewall.LinkPrefix)
	default:
		finding.Detail = "nothing else drops what workers send"
		return i.findLegacy(finding)
	}
	return finding
}

// findLegacy turns a finding into a warning where iptables-legacy has tables,
// whose rules nftables does not show.
func (i *Island) findLegacy(finding doctor.Finding) doctor.Finding {
	var details, mends []string
	for _, tool := range []struct {
		name string
		ipv6 bool
	}{{"iptables-legacy", false}, {"ip6tables-legacy", true}} {
		if tool.ipv6 && !i.options.IPv6.On {
			continue
		}
		found, err := hostfirewall.Legacy(tool.ipv6)
		switch {
		case err != nil:
			details = append(details, err.Error())
		case found:
			details = append(details, fmt.Sprintf(
				"%s has a table as well, which cannot be seen from here: it must let %s+ pass",
				tool.name, firewall.LinkPrefix))
		default:
			continue
		}
		mends = append(mends, tool.name+" -S FORWARD # look whether it drops")
	}
	if len(details) > 0 {
		finding.Level = doctor.Warning
		finding.Detail, finding.Mend = strings.Join(details, "; "), strings.Join(mends, "\n")
	}
	return finding
}

// obstacles returns the chains of others that drop what workers send through
// the host, or ask of a resolver on it. Nothing else of theirs is for the host.
func (i *Island) obstacles() ([]hostfirewall.Obstacle, error) {
	rules, err := hostfirewall.Read(firewall.HostTable(""))
	if err != nil {
		return nil, err
	}
	out, err := i.egress()
	if err != nil {
		out = exit{} // which findEgress says; the links are just not known
	}
	traffic, err := i.traffic(out)
	if err != nil {
		return nil, err
	}
	var through []hostfirewall.Packet
	for _, t := range traffic {
		through = append(through, t.Through()...)
	}
	found := rules.Obstacles(hostfirewall.Forward, through)
	by, err := i.answering(out)
	if err != nil {
		return found, err
	}
	if here, err := isOurs(by.redirect); err != nil || !here { // a relay asks as the host does
		return found, err
	}
	return append(found, rules.Obstacles(hostfirewall.Input, traffic[0].ToResolver(by.redirect))...), nil
}

// traffic is where packets of workers pass: IPv4 first, by every link that
// leads to where workers may go.
func (i *Island) traffic(out exit) ([]hostfirewall.Traffic, error) {
	ways, err := i.ways(out)
	if err != nil {
		return nil, err
	}
	outside := i.outside(network.Subnet(i.options.Subnet).First())
	var all []hostfirewall.Traffic
	for n, links := range [][]string{ways.ipv4, ways.ipv6}[:len(outside)] {
		if len(links) == 0 {
			links = []string{""}
		}
		for _, link := range links {
			all = append(all, hostfirewall.Traffic{
				Link: firewall.LinkPrefix + i.scope + "aaaaaaaa", Egress: link, Worker: outside[n], IPv6: n == 1,
			})
		}
	}
	return all, nil
}

// isOurs tells whether an address is one of this host's.
func isOurs(addr netip.Addr) (bool, error) {
	if !addr.IsValid() {
		return false, nil
	}
	addresses, err := netlinkdump.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return false, err
	}
	for _, a := range addresses {
		if known, ok := netip.AddrFromSlice(a.IP); ok && known.Unmap() == addr {
			return true, nil
		}
	}
	return false, nil
}

func describe(obstacles []hostfirewall.Obstacle) string {
	does := map[hostfirewall.Hook]string{
		hostfirewall.Forward: "drops what workers send out, or are answered",
		hostfirewall.Input:   "drops what workers ask the resolver on this host",
	}
	var all []string
	for _, o := range obstacles {
		all = append(all, fmt.Sprintf("chain %s %s %s %s", o.Family, o.Table, o.Chain, does[o.Hook]))
	}
	return strings.Join(all, "; ")
}
