//go:build linux

package firewall

import "net/netip"

// HostPolicy is what the host's rules depend on.
type HostPolicy struct {
	// Scope is the pool's part of its links' names.
	Scope string
	// Subnet holds the addresses of the pool's workers.
	Subnet netip.Prefix
	// Subnet6 holds their IPv6 addresses; the zero Prefix means that they have
	// none. They are masqueraded unless Routed says that the world knows them.
	Subnet6 netip.Prefix
	Routed  bool
	// Egress is the only interface that workers may leave by; empty for any.
	Egress string
	// Resolver is reachable when it is an address of the host; the zero Addr
	// for none.
	Resolver netip.Addr
	// LogGroup is where denied packets are logged to; zero for nowhere.
	LogGroup uint16
}

// deniedSet is the set of a host's table that counts what each worker's link was
// denied.
const deniedSet = "denied-links"

// HostTable names the host's table of the pool with this scope.
func HostTable(scope string) string { return "mayfly-" + scope }

// Host returns the rules on the host for the workers of one pool. Their number
// does not depend on how many workers there are, and pools have a table each,
// so that none ever touches another's.
func Host(p HostPolicy) Table {
	count := when().do(updateIifname{deniedSet})
	return Table{
		name: HostTable(p.Scope),
		sets: []set{{name: deniedSet, kind: countedLinks}},
		chains: []chain{
			{name: deniedChain, rules: append([]rule{count}, denied(p.LogGroup != 0, p.LogGroup)...)},
			{name: hopsChain, rules: hostHops(p)},
			{name: "admit", at: preroutingFilter, rules: hostAdmit(p)},
			{name: "input", at: inputFilter, rules: hostInput(p)},
			{name: "forward", at: forwardFilter, rules: hostForward(p)},
			{name: "postrouting", at: postroutingSrcNAT, rules: hostPostrouting(p)},
		},
	}
}

func (p HostPolicy) workers() string { return LinkPrefix + p.Scope + "*" }

// fromWorker is how every rule about what a worker sends begins.
func (p HostPolicy) fromWorker(matches ...match) rule {
	return when(iifname{name: p.workers()}).and(matches...)
}

// hostInput lets workers answer the host, ask its resolver, and nothing else.
func hostInput(p HostPolicy) []rule {
	rules := []rule{p.fromWorker(ctState{anyOf: ctEstablished | ctRelated}).do(accept{})}
	if p.Resolver.IsValid() {
		for _, question := range questions(p.fromWorker(daddr{single(p.Resolver)})) {
			rules = append(rules, question.do(accept{}))
		}
	}
	return append(rules, p.fromWorker().do(deny))
}

// hopsChain gives packets the hops that they need to go beyond the host.
const hopsChain = "hops"

// hostHops sets as many as most systems begin with.
func hostHops(p HostPolicy) []rule { return hopsLeft(when(), p.Subnet6.IsValid(), 64) }

// hopsLeft sets how many routers may still pass on what a rule matches.
func hopsLeft(of rule, ipv6 bool, hops byte) []rule {
	rules := []rule{of.and(nfproto{ipv6: false}).do(setHops{false, hops})}
	if ipv6 {
		rules = append(rules, of.and(nfproto{ipv6: true}).do(setHops{true, hops}))
	}
	return rules
}

// hostAdmit leads there. A packet comes with one hop, see lastHop: without this
// table the host's own kernel passes none on. What hostForward denies is denied
// here first, because a table may be gone when a packet gets there; what one chain
// says of a packet holds as a whole. What the host itself hears needs no hops, and
// what is sent to a link is never passed on.
func hostAdmit(p HostPolicy) []rule {
	by := func(name string, not bool) match { return fibDaddrOifname{name, not} }
	rules := []rule{p.fromWorker(fibDaddrTypeLocal{}).do(accept{})}
	if p.Subnet6.IsValid() {
		rules = append(rules, p.fromWorker(toLinkMulticast).do(accept{}))
	}
	rules = append(rules, leaving(p, by, gotoChain{hopsChain})...)
	return append(rules, p.fromWorker().do(gotoChain{hopsChain}))
}

// hostForward keeps workers apart from each other and from other people's
// connections. Connections that the host opens do not pass here.
func hostForward(p HostPolicy) []rule {
	by := func(name string, not bool) match { return oifname{name, not} }
	return append(leaving(p, by, accept{}),
		when(oifname{name: p.workers()}, ctState{anyOf: ctEstablished | ctRelated, not: true}).do(drop{}))
}

// leaving denies what workers may not send through the host. By matches the
// interface that a packet leaves by; pass is what is done with questions to a
// resolver that the host redirects elsewhere.
func leaving(p HostPolicy, by func(name string, not bool) match, pass action) []rule {
	rules := []rule{
		p.fromWorker(by(LinkPrefix+"*", false)).do(deny),
		p.fromWorker(saddr{prefix: p.Subnet, not: true}).do(deny),
	}
	// What others publish on the host's addresses and redirect, such as ports of
	// containers, is denied as the host itself is. A resolver may be published so.
	if p.Resolver.IsValid() {
		for _, question := range questions(p.fromWorker(ctStatusDNAT{}, ctOriginalDaddr{p.Resolver})) {
			rules = append(rules, question.do(pass))
		}
	}
	rules = append(rules, p.fromWorker(ctStatusDNAT{}).do(deny))
	if p.Subnet6.IsValid() {
		rules = append(rules, p.fromWorker(saddr{prefix: p.Subnet6, not: true}).do(deny))
	} else {
		rules = append(rules, p.fromWorker(nfproto{ipv6: true}).do(deny))
	}
	if p.Egress != "" {
		rules = append(rules, p.fromWorker(by(p.Egress, true)).do(deny))
	}
	return rules
}

// hostPostrouting masquerades what leaves the host, but not what goes to a worker.
func hostPostrouting(p HostPolicy) []rule {
	out := when(oifname{name: LinkPrefix + "*", not: true})
	rules := []rule{out.and(saddr{prefix: p.Subnet}).do(masquerade{})}
	if p.Subnet6.IsValid() && !p.Routed {
		rules = append(rules, out.and(saddr{prefix: p.Subnet6}).do(masquerade{}))
	}
	return rules
}
