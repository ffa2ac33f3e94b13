//go:build linux

package firewall

import (
	"net/netip"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Uplink is the interface that leads out of a worker's namespace.
const Uplink = "uplink"

// NamespaceTable may be the same everywhere: a namespace holds one worker.
const NamespaceTable = "mayfly"

// LogGroup is where a namespace's denied packets are logged to, when that is
// asked for.
const LogGroup = 1

// logRate is how many denied packets a second are logged at most, so that nobody
// fills the host's disk by being denied.
const logRate = 10

// Policy is what the rules around one worker depend on: the policy of its pool,
// and who answers the DNS questions that the guest asks its gateway.
type Policy struct {
	network.Policy
	// Resolver is where questions are sent, IPv4; the zero Addr is nowhere.
	Resolver netip.Addr
	// Relay says that the gateway itself answers them, and no Resolver.
	Relay bool
	// FromHost is what the host opens its connections to the guest from, IPv4: nobody
	// else opens any.
	FromHost netip.Addr
	// Host is where the host itself hears what is sent, and Workers where workers
	// are: the guest opens nothing there, whatever is allowed. SetHost changes Host.
	Host, Workers []netip.Prefix
}

// Namespace returns the rules inside a worker's namespace. They do not depend
// on which worker it is. What they deny stays denied when the host loses its own
// rules, which others may flush.
func Namespace(p Policy) Table {
	return Table{name: NamespaceTable, sets: append(hostSets(p), destinationSets(p)...), chains: []chain{
		{name: deniedChain, rules: denied(p.LogDenied, LogGroup)},
		{name: "spoofed", at: preroutingRaw, rules: spoofed(p)},
		{name: "prerouting", at: preroutingDstNAT, rules: redirects(p)},
		{name: "input", at: inputFilter, rules: gatewayInput(p)},
		{name: "clamp", at: forwardMangle, rules: []rule{when(tcpFlagsSYN{}).do(maxsegRouteMTU{})}},
		{name: "forward", at: forwardFilter, rules: gatewayForward(p)},
		{name: "hops", at: postroutingMangle, rules: lastHop(p)},
		{name: "postrouting", at: postroutingSrcNAT, rules: []rule{when(oifname{name: Uplink}).do(masquerade{})}},
	}}
}

// deniedChain is where denied packets end. Its last rule counts them.
const deniedChain = "denied"

// deny sends a packet there.
var deny = gotoChain{deniedChain}

func denied(log bool, group uint16) []rule {
	rules := []rule{when().do(drop{})}
	if log {
		return append([]rule{when(limitRate{perSecond: logRate}).do(logGroup{group})}, rules...)
	}
	return rules
}

// fromGuest is how every rule about what the guest sends begins.
func fromGuest(matches ...match) rule { return when(iifname{name: network.TAP}).and(matches...) }

// toGateway matches what is sent to the gateway itself.
var toGateway = daddr{single(network.Gateway)}

// toLinkMulticast matches what every IPv6 host sends to its own link, unasked. It
// is not counted as denied.
var toLinkMulticast = daddr{netip.MustParsePrefix("ff02::/16")}

// fromLinkLocal matches the addresses that are valid on one link only. A guest's
// kernel asks for its gateway from one, and needs no answer.
var fromLinkLocal = saddr{prefix: netip.MustParsePrefix("fe80::/10")}

// spoofed drops whatever the guest sends from an address that is not its own,
// before any of it is tracked.
func spoofed(p Policy) []rule {
	guest := saddr{prefix: single(network.Guest.Addr()), not: true}
	rules := []rule{fromGuest(etherSaddr{mac: network.GuestMAC, not: true}).do(deny)}
	if !p.IPv6.On {
		return append(rules,
			fromGuest(toLinkMulticast).do(drop{}),
			fromGuest(nfproto{ipv6: true}).do(deny),
			fromGuest(guest).do(deny))
	}
	guest6 := saddr{prefix: single(network.Guest6.Addr()), not: true}
	return append(rules,
		fromGuest(guest).do(deny),
		fromGuest(guest6, toLinkMulticast).do(drop{}),
		fromGuest(fromLinkLocal, neighborSolicit{}).do(drop{}),
		fromGuest(guest6).do(deny))
}

// single is the network of one address.
func single(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

// redirects sends what the host opens to the worker to the guest, and DNS questions
// to the gateway to a resolver. That others open nothing is the host's to deny, and
// it sees to it that nobody else has its addresses; but it may lose its rules.
func redirects(p Policy) []rule {
	fromHost, guest := when(iifname{name: Uplink}, saddr{prefix: single(p.FromHost)}), dnat{network.Guest.Addr()}
	rules := []rule{
		fromHost.and(l4proto{network.TCP}).do(guest),
		fromHost.and(l4proto{network.UDP}).do(guest),
	}
	if p.Relay || !p.Resolver.IsValid() {
		return rules
	}
	for _, question := range questions(fromGuest(toGateway)) {
		rules = append(rules, question.do(dnat{p.Resolver}))
	}
	return rules
}

// questions are the packets of a rule that are DNS questions.
func questions(r rule) []rule {
	port := dport{network.DNSPort, network.DNSPort}
	return []rule{r.and(l4proto{network.TCP}, port), r.and(l4proto{network.UDP}, port)}
}

// gatewayInput lets the guest ask the relay, if there is one, and nothing else. What
// others than the host open to the worker is not redirected, and ends here.
func gatewayInput(p Policy) []rule {
	var rules []rule
	if p.Relay {
		for _, question := range questions(fromGuest(toGateway)) {
			rules = append(append(rules, limited(p, question)...), question.do(accept{}))
		}
	}
	if p.IPv6.On {
		rules = append(rules,
			fromGuest(neighborSolicit{}).do(accept{}),
			fromGuest(toLinkMulticast).do(drop{}))
	}
	others := when(iifname{name: Uplink}, ctState{anyOf: ctNew})
	rules = append(rules, others.and(saddr{prefix: single(p.FromHost), not: true}).do(drop{}))
	if p.IPv6.On {
		rules = append(rules, others.and(nfproto{ipv6: true}).do(drop{}))
	}
	return append(rules, fromGuest().do(deny))
}

// limited bounds the connections that a rule matches. Every packet of a connection
// that nobody answers is new to the kernel: a mark says that it was counted.
func limited(p Policy, r rule) []rule {
	var rules []rule
	if p.ConnectionRate > 0 {
		rules = append(rules,
			r.and(ctState{anyOf: ctNew}, ctMark{0}, limitRate{perSecond: p.ConnectionRate, over: true}).do(deny),
			r.and(ctState{anyOf: ctNew}).do(setCtMark{1}))
	}
	if p.Connections > 0 {
		rules = append(rules, r.and(ctState{anyOf: ctNew}, ctCountOver{p.Connections}).do(deny))
	}
	return rules
}

// lastHop leaves what goes to the host one hop: enough to be heard there, too
// little to be passed on. The host's table gives it more, see hostAdmit, so that a
// host without that table opens no way to anywhere.
func lastHop(p Policy) []rule { return hopsLeft(when(oifname{name: Uplink}), p.IPv6.On, 1) }

// outOfHops drops what a host without its table says of such packets. A guest that
// heard it would give a connection up, where the table is back before it tries
// again.
func outOfHops(p Policy) []rule {
	fromHost := when(iifname{name: Uplink})
	rules := []rule{fromHost.and(timeExceeded{ipv6: false}).do(drop{})}
	if p.IPv6.On {
		rules = append(rules, fromHost.and(timeExceeded{ipv6: true}).do(drop{}))
	}
	return rules
}

// gatewayForward says where the guest may go. What was accepted once goes on,
// and redirected questions reach a resolver also in a denied network.
func gatewayForward(p Policy) []rule {
	rules := append(outOfHops(p),
		fromGuest(ctState{anyOf: ctEstablished | ctRelated}).do(accept{}),
		fromGuest(ctState{anyOf: ctInvalid | ctUntracked}).do(drop{}))
	rules = append(rules, limited(p, fromGuest())...)
	rules = append(rules, fromGuest(ctStatusDNAT{}).do(accept{}))
	rules = append(rules, neverReached(p)...)
	rules = append(rules, listed(p, p.Allow, allowSets, accept{})...)
	rules = append(rules, listed(p, p.Denied(), denySets, deny)...)
	if len(p.Domains) == 0 {
		return rules
	}
	for _, set := range learntSets(p) {
		rules = append(rules, fromGuest(daddrIn{set.name}).do(accept{}))
	}
	return append(rules, fromGuest().do(deny))
}

// neverReached are the host itself and other workers.
func neverReached(p Policy) []rule {
	var rules []rule
	for _, set := range hostSets(p) {
		rules = append(rules, fromGuest(daddrIn{set.name}).do(deny))
	}
	for _, workers := range p.Workers {
		if p.IPv6.On || workers.Addr().Is4() {
			rules = append(rules, fromGuest(daddr{workers}).do(deny))
		}
	}
	return rules
}
