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

// logRate is how many denied packets a second are logged at most: nobody shall
// fill the host's disk by being denied.
const logRate = 10

// Policy is what the rules around one worker depend on: the policy of its pool,
// and who answers the DNS questions that the guest asks its gateway.
type Policy struct {
	network.Policy
	// Resolver is where questions are sent, IPv4; the zero Addr is nowhere.
	Resolver netip.Addr
	// Relay says that the gateway itself answers them, and no Resolver.
	Relay bool
}

// Namespace returns the rules inside a worker's namespace. They do not depend
// on which worker it is.
func Namespace(p Policy) Table {
	t := Table{Name: NamespaceTable, Sets: destinationSets(p)}
	t.Chains = []Chain{
		{Name: deniedChain, Rules: denied(p.LogDenied, LogGroup)},
		{Name: "spoofed", Hook: Raw, Rules: spoofed(p)},
		{Name: "prerouting", Hook: DestinationNAT, Rules: redirects(p)},
		{Name: "input", Hook: Input, Rules: toGateway(p)},
		{Name: "clamp", Hook: Mangle, Rules: []Rule{when(Opening{}).do(ClampMSS{})}},
		{Name: "forward", Hook: Forward, Rules: throughGateway(p)},
		{Name: "postrouting", Hook: SourceNAT, Rules: []Rule{when(Out{Name: Uplink}).do(Masquerade{})}},
	}
	return t
}

// deniedChain is where denied packets end. Its last rule counts them.
const deniedChain = "denied"

func denied(log bool, group uint16) []Rule {
	rules := []Rule{when().do(Drop{})}
	if log {
		return append([]Rule{when(Slower{logRate}).do(Log{group})}, rules...)
	}
	return rules
}

// fromGuest is how every rule about what the guest sends begins.
func fromGuest(match ...Match) Rule { return when(In{Name: network.TAP}).and(match...) }

// linkMulticast is what every IPv6 host sends to its own link, unasked: it
// counts as nothing that was denied.
var linkMulticast = Destination{netip.MustParsePrefix("ff02::/16")}

// linkLocal is a name that is good on one link only. A guest's kernel asks for
// its gateway under it, and gets by without an answer.
var linkLocal = Source{Prefix: netip.MustParsePrefix("fe80::/10")}

// spoofed drops whatever the guest sends under a name that is not its own,
// before any of it is tracked.
func spoofed(p Policy) []Rule {
	deny := Deny{deniedChain}
	guest := Source{Prefix: only(network.Guest), Not: true}
	rules := []Rule{fromGuest(SourceMAC{MAC: network.GuestMAC, Not: true}).do(deny)}
	if !p.IPv6.On {
		return append(rules,
			fromGuest(linkMulticast).do(Drop{}),
			fromGuest(Family{IPv6: true}).do(deny),
			fromGuest(guest).do(deny))
	}
	guest6 := Source{Prefix: only(network.Guest6), Not: true}
	return append(rules,
		fromGuest(guest).do(deny),
		fromGuest(guest6, linkMulticast).do(Drop{}),
		fromGuest(linkLocal, NeighbourSolicitation{}).do(Drop{}),
		fromGuest(guest6).do(deny))
}

// only returns the address without its network.
func only(p netip.Prefix) netip.Prefix { return netip.PrefixFrom(p.Addr(), p.Addr().BitLen()) }

// redirects makes the guest answer for the worker's address, and a resolver
// for the gateway's.
func redirects(p Policy) []Rule {
	guest := SendTo{network.Guest.Addr()}
	ipv4 := Family{}
	rules := []Rule{
		when(In{Name: Uplink}, ipv4, Protocol{network.TCP}).do(guest),
		when(In{Name: Uplink}, ipv4, Protocol{network.UDP}).do(guest),
	}
	if p.Relay || !p.Resolver.IsValid() {
		return rules
	}
	for _, question := range questions() {
		rules = append(rules, question.do(SendTo{p.Resolver}))
	}
	return rules
}

// questions are the DNS packets that the guest sends to its gateway.
func questions() []Rule {
	gateway := Destination{netip.PrefixFrom(network.Gateway, network.Gateway.BitLen())}
	port := DestinationPorts{network.DNSPort, network.DNSPort}
	return []Rule{
		fromGuest(gateway, Protocol{network.TCP}, port),
		fromGuest(gateway, Protocol{network.UDP}, port),
	}
}

// toGateway lets the guest ask the relay, if there is one, and nothing else.
func toGateway(p Policy) []Rule {
	var rules []Rule
	if p.Relay {
		for _, question := range questions() {
			rules = append(append(rules, limited(p, question)...), question.do(Accept{}))
		}
	}
	if p.IPv6.On {
		rules = append(rules,
			fromGuest(NeighbourSolicitation{}).do(Accept{}),
			fromGuest(linkMulticast).do(Drop{}))
	}
	return append(rules, fromGuest().do(Deny{deniedChain}))
}

// limited bounds the connections that a rule matches. Packets of one that nobody
// answers are all new to the kernel, so that it is told which were counted.
func limited(p Policy, rule Rule) []Rule {
	var rules []Rule
	if p.ConnectionRate > 0 {
		rules = append(rules,
			rule.and(New{}, Unseen{}, Faster{p.ConnectionRate}).do(Deny{deniedChain}),
			rule.and(New{}).do(Remember{}))
	}
	if p.Connections > 0 {
		rules = append(rules, rule.and(New{}, More{p.Connections}).do(Deny{deniedChain}))
	}
	return rules
}

// throughGateway says where the guest may go. What was accepted once goes on,
// and redirected questions reach a resolver also in a denied network.
func throughGateway(p Policy) []Rule {
	deny := Deny{deniedChain}
	rules := []Rule{
		fromGuest(Established{}).do(Accept{}),
		fromGuest(Stray{}).do(Drop{}),
	}
	rules = append(rules, limited(p, fromGuest())...)
	rules = append(rules, fromGuest(Redirected{}).do(Accept{}))
	rules = append(rules, listed(p, p.Allow, allowSets, Accept{})...)
	rules = append(rules, listed(p, p.Denied(), denySets, deny)...)
	if len(p.Domains) == 0 {
		return rules
	}
	for _, set := range learntSets(p) {
		rules = append(rules, fromGuest(DestinationIn{set.Name}).do(Accept{}))
	}
	return append(rules, fromGuest().do(deny))
}
