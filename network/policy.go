package network

import "net/netip"

// Policy is what workers may reach, and how much of the host's network each of
// them may take. It goes unchanged from the configuration to the rules.
type Policy struct {
	// Egress is the only interface that workers may leave the host by; when it is
	// empty, they leave as the host's own routes say.
	Egress string
	// Allow is reachable even where Deny forbids it. A nil Deny stands for
	// DefaultDeny, an empty one denies nothing.
	Allow, Deny []Destination
	// Domains, when there are any, are the names that workers may look up; then
	// they reach Allow and the addresses of these alone. "*.example.com" stands
	// for every name below example.com.
	Domains []string
	// DNS answers the workers' questions; none means the host's own resolvers.
	DNS []netip.Addr
	// Search are the domains that workers look names up in that have no dot. A nil
	// Search stands for the host's own, an empty one for none.
	Search []string
	// IPv6 says whether workers have it; the zero value is that they do not.
	IPv6 IPv6
	// Bandwidth is bits per second for each worker in each direction; 0 is
	// without limit.
	Bandwidth int64
	// Connections is how many connections out a worker has at once, and
	// ConnectionRate how many it opens in a second; 0 is without limit.
	Connections, ConnectionRate int
	// LogDenied has the packets that a worker is denied logged with its id.
	LogDenied bool
}

// Denied is Deny, or what it stands for.
func (p Policy) Denied() []Destination {
	if p.Deny == nil {
		return DefaultDeny()
	}
	return p.Deny
}
