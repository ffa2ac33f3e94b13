//go:build linux

package hostfirewall

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// Conditions in few words.
func in(text string) Condition  { return Condition{Of: IIFName, Spans: names(text)} }
func out(text string) Condition { return Condition{Of: OIFName, Spans: names(text)} }
func state(mask uint32) Condition {
	return Condition{Of: CTState, Mask: number(mask), Not: true, Spans: []Span{{number(0), number(0)}}}
}

func not(c Condition) Condition {
	c.Not = !c.Not
	return c
}

// names makes a short span of "mf*", and a long one of "eth0".
func names(text string) []Span {
	value := name(text)
	if n := len(text) - 1; text[n] == '*' {
		value = []byte(text[:n])
	}
	return []Span{{value, value}}
}

func rule(kind Kind, conditions ...Condition) Rule {
	return Rule{If: conditions, Then: Verdict{Kind: kind}}
}

func lead(kind Kind, chain string, conditions ...Condition) Rule {
	return Rule{If: conditions, Then: Verdict{kind, chain}}
}

var worker = Traffic{Link: "mfabcdeaaaaaaaa", Egress: "eth0", Worker: netip.MustParseAddr("10.86.0.2")}

func TestWhatAChainDrops(t *testing.T) {
	address := worker.Worker.AsSlice()
	other := []byte{10, 99, 0, 0}
	unknown := Condition{Of: Unknown}
	ours := []Rule{rule(Accept, in("mf*")), rule(Accept, out("mf*"), state(2|4))}
	for name, c := range map[string]struct {
		policy bool
		rules  []Rule
		more   map[string]Chain
		drops  bool
	}{
		"policy":                             {policy: true, drops: true},
		"no policy":                          {},
		"last rule":                          {rules: []Rule{rule(Continue), rule(Drop)}, drops: true},
		"last rule, of others":               {rules: []Rule{rule(Drop, in("br0"))}},
		"last rule, of some":                 {rules: []Rule{rule(Drop, unknown)}},
		"last rule, but for others":          {rules: []Rule{rule(Drop, not(in("br0")))}, drops: true},
		"ours pass":                          {policy: true, rules: ours},
		"ours pass, but what is invalid":     {policy: true, rules: append([]Rule{rule(Drop, state(1))}, ours...)},
		"ours pass too late":                 {rules: append([]Rule{rule(Drop)}, ours...), drops: true},
		"of ours only what goes out":         {policy: true, rules: ours[:1], drops: true},
		"of ours only answers":               {policy: true, rules: ours[1:], drops: true},
		"answers pass for all":               {policy: true, rules: []Rule{rule(Accept, state(2)), ours[0]}},
		"this pool's links":                  {policy: true, rules: []Rule{rule(Accept, in("mfabcde*")), rule(Accept, out("mfabcde*"))}},
		"another pool's links":               {policy: true, rules: []Rule{rule(Accept, in("mfzzzzz*")), rule(Accept, out("mfzzzzz*"))}, drops: true},
		"a link with half the name":          {policy: true, rules: []Rule{rule(Accept, in("mf")), ours[1]}, drops: true},
		"some of ours":                       {policy: true, rules: []Rule{rule(Accept, in("mf*"), unknown), ours[1]}, drops: true},
		"ours by the way out":                {policy: true, rules: []Rule{rule(Accept, in("mf*"), out("eth0")), ours[1]}},
		"ours by another way out":            {policy: true, rules: []Rule{rule(Accept, in("mf*"), out("eth1")), ours[1]}, drops: true},
		"ours by address":                    {policy: true, rules: []Rule{rule(Accept, Condition{Of: SAddr, Mask: []byte{255, 255, 0, 0}, Spans: []Span{{[]byte{10, 86, 0, 0}, []byte{10, 86, 0, 0}}}}), rule(Accept, Condition{Of: DAddr, Spans: []Span{{[]byte{10, 86}, []byte{10, 86}}}})}},
		"ours by several addresses":          {policy: true, rules: []Rule{rule(Accept, Condition{Of: SAddr, Spans: []Span{{other, other}, {address, address}}}), ours[1]}},
		"addresses of others":                {policy: true, rules: []Rule{rule(Accept, Condition{Of: SAddr, Spans: []Span{{other, other}}}), ours[1]}, drops: true},
		"a value that is too long to be one": {policy: true, rules: []Rule{rule(Accept, Condition{Of: SAddr, Spans: []Span{{make([]byte, 16), make([]byte, 16)}}}), ours[1]}, drops: true},
		"ours pass in another chain": {policy: true, rules: []Rule{lead(Jump, "user")},
			more: map[string]Chain{"user": {Rules: append(ours, rule(Return))}}},
		"another chain has nothing": {policy: true, rules: []Rule{lead(Jump, "user"), rule(Accept)},
			more: map[string]Chain{"user": {}}},
		"another chain returns first": {policy: true, rules: []Rule{lead(Jump, "user")}, drops: true,
			more: map[string]Chain{"user": {Rules: append([]Rule{rule(Return)}, ours...)}}},
		"another chain drops": {rules: []Rule{lead(Jump, "rest")}, drops: true,
			more: map[string]Chain{"rest": {Rules: []Rule{rule(Drop)}}}},
		"another chain is for others": {rules: []Rule{lead(Jump, "rest", in("br0"))},
			more: map[string]Chain{"rest": {Rules: []Rule{rule(Drop)}}}},
		"goto does not come back": {policy: true, rules: []Rule{lead(Goto, "user"), rule(Accept)}, drops: true,
			more: map[string]Chain{"user": {}}},
		"goto comes back to who jumped": {policy: true, rules: []Rule{lead(Jump, "a"), rule(Accept)},
			more: map[string]Chain{"a": {Rules: []Rule{lead(Goto, "b"), rule(Drop)}}, "b": {}}},
		"chains without end": {policy: true, rules: []Rule{lead(Jump, "a")}, drops: true,
			more: map[string]Chain{"a": {Rules: []Rule{lead(Jump, "a")}}}},
	} {
		t.Run(name, func(t *testing.T) {
			chains := map[string]Chain{"base": {Hook: Forward, Drops: c.policy, Rules: c.rules}}
			for name, chain := range c.more {
				chains[name] = chain
			}
			found := Ruleset{{Family: "inet", Name: "t", Chains: chains}}.Obstacles(Forward, worker.Through())
			if !c.drops {
				require.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			require.Equal(t, "base", found[0].Chain)
		})
	}
}

func TestTablesOfOneFamilyMatterToItsPackets(t *testing.T) {
	var rules Ruleset
	for _, family := range []string{"ip", "ip6", "inet"} {
		rules = append(rules, Table{Family: family, Name: "t", Chains: map[string]Chain{"c": {Hook: Forward, Drops: true}}})
	}
	families := func(packets []Packet) []string {
		var found []string
		for _, o := range rules.Obstacles(Forward, packets) {
			found = append(found, o.Family)
		}
		return found
	}
	require.Equal(t, []string{"ip", "inet"}, families(worker.Through()))
	require.Equal(t, []string{"ip6", "inet"}, families(Traffic{Link: worker.Link, IPv6: true}.Through()))
	require.Empty(t, rules.Obstacles(Input, worker.Through()))
}

func TestWayOutThatIsNotKnownIsNotTakenForAnother(t *testing.T) {
	rules := Ruleset{{Family: "ip", Name: "t", Chains: map[string]Chain{
		"c": {Hook: Forward, Rules: []Rule{rule(Drop, not(out("eth0")), in("mf*"))}},
	}}}
	require.Empty(t, rules.Obstacles(Forward, Traffic{Link: worker.Link}.Through()))
	elsewhere := worker
	elsewhere.Egress = "eth1"
	require.Len(t, rules.Obstacles(Forward, elsewhere.Through()), 1)
}

func TestQuestionsToTheResolver(t *testing.T) {
	port := func(first, last byte) Condition {
		return Condition{Of: DPort, Spans: []Span{{[]byte{0, first}, []byte{0, last}}}}
	}
	protocol := func(n byte) Condition { return Condition{Of: L4Proto, Spans: []Span{{[]byte{n}, []byte{n}}}} }
	local := Condition{Of: FibDAddrType, Spans: []Span{{number(typeLocal), number(typeLocal)}}}
	for name, c := range map[string]struct {
		rules []Rule
		drops bool
	}{
		"nothing":           {drops: true},
		"port":              {rules: []Rule{rule(Accept, port(53, 53))}},
		"ports":             {rules: []Rule{rule(Accept, port(50, 60))}},
		"other ports":       {rules: []Rule{rule(Accept, port(54, 60))}, drops: true},
		"only UDP":          {rules: []Rule{rule(Accept, protocol(network.UDP), port(53, 53))}, drops: true},
		"UDP and TCP":       {rules: []Rule{rule(Accept, protocol(network.UDP), port(53, 53)), rule(Accept, protocol(network.TCP), port(53, 53))}},
		"all that is local": {rules: []Rule{rule(Accept, local)}},
		"what is forwarded": {rules: []Rule{rule(Accept, not(local))}, drops: true},
	} {
		t.Run(name, func(t *testing.T) {
			rules := Ruleset{{Family: "ip", Name: "t", Chains: map[string]Chain{"c": {Hook: Input, Drops: true, Rules: c.rules}}}}
			found := rules.Obstacles(Input, worker.ToResolver(netip.MustParseAddr("192.0.2.1")))
			require.Equal(t, c.drops, len(found) == 1)
		})
	}
}

func TestObstacleNamesOnlyTheChainsBehindIt(t *testing.T) {
	rules := Ruleset{{Family: "ip", Name: "filter", Chains: map[string]Chain{
		"INPUT":       {Hook: Input, Drops: true, Rules: []Rule{lead(Jump, "f2b")}},
		"FORWARD":     {Hook: Forward, Drops: true, Rules: []Rule{lead(Jump, "DOCKER-USER"), lead(Jump, "DOCKER-USER")}},
		"DOCKER-USER": {Rules: []Rule{lead(Goto, "more", in("br0"))}},
		"more":        {Rules: []Rule{lead(Jump, "FORWARD")}},
		"f2b":         {},
	}}}
	require.Equal(t, []Obstacle{{"ip", "filter", "FORWARD", Forward, []string{"FORWARD", "DOCKER-USER", "more"}}},
		rules.Obstacles(Forward, worker.Through()))
	require.Equal(t, []Obstacle{{"ip", "filter", "INPUT", Input, []string{"INPUT", "f2b"}}},
		rules.Obstacles(Input, worker.ToResolver(netip.MustParseAddr("192.0.2.1"))))
}
