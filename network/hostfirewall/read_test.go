//go:build linux

package hostfirewall

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

// emptyNamespace is where a test has nft, and more, to itself.
func emptyNamespace(t *testing.T, tools ...string) {
	t.Helper()
	sandbox.EmptyNamespace(t, append(tools, "nft")...)
}

// shell runs a script from the calling thread, and so in its namespace.
func shell(t *testing.T, script string) {
	t.Helper()
	out, err := exec.Command("sh", "-c", script).CombinedOutput()
	require.NoError(t, err, "%s\n%s", script, out)
}

func is(field Field, spans ...Span) Condition { return Condition{Of: field, Spans: spans} }
func value(bytes ...byte) Span                { return Span{bytes, bytes} }

// upTo is all names that begin as nft's interval sets have it.
func upTo(text string) Span {
	first, last := name(text), name(text)
	for n := len(text); n < len(last); n++ {
		last[n] = 0xff
	}
	return Span{first, last}
}

func TestRulesOfNft(t *testing.T) {
	nfproto4, icmp := is(NFProto, value(familyIPv4)), is(L4Proto, value(1))
	for text, want := range map[string][]Rule{
		`accept`:                              {rule(Accept)},
		`counter log prefix "bye" drop`:       {rule(Drop)},
		`reject with icmpx admin-prohibited`:  {rule(Drop)},
		`counter`:                             {rule(Continue)},
		`return`:                              {rule(Return)},
		`jump other`:                          {lead(Jump, "other")},
		`goto other`:                          {lead(Goto, "other")},
		`iifname "mf*" counter accept`:        {rule(Accept, in("mf*"))},
		`oifname != "eth0" accept`:            {rule(Accept, not(out("eth0")))},
		`iif lo accept`:                       {rule(Accept, is(Unknown, Span{number(1), number(1)}))},
		`iifname { "lo", "mf*" } accept`:      {rule(Accept, is(IIFName, Span{name("lo"), name("lo")}, upTo("mf")))},
		`iifname != { "br0" } accept`:         {rule(Accept, not(is(IIFName, Span{name("br0"), name("br0")})))},
		`iifname @links accept`:               {rule(Accept, is(IIFName, Span{name("a0"), name("a0")}, Span{name("b0"), name("b0")}))},
		`ct state established,related accept`: {rule(Accept, state(2|4))},
		`ct state { established, new } drop`:  {rule(Drop, is(CTState, Span{number(2), number(2)}, Span{number(8), number(8)}))},
		`iifname "mf*" ct state vmap { invalid : drop, established : jump other }`: {
			rule(Drop, is(CTState, Span{number(1), number(1)}), in("mf*")),
			lead(Jump, "other", is(CTState, Span{number(2), number(2)}), in("mf*")),
		},
		`ip saddr 10.86.0.0/16 accept`: {rule(Accept, nfproto4, is(SAddr, value(10, 86)))},
		`ip daddr 10.80.0.0/12 accept`: {rule(Accept, nfproto4, Condition{Of: DAddr, Mask: []byte{255, 240, 0, 0}, Spans: []Span{value(10, 80, 0, 0)}})},
		`ip daddr { 10.0.0.0/8, 255.0.0.0/8 } accept`: {rule(Accept, nfproto4,
			is(DAddr, Span{[]byte{10, 0, 0, 0}, []byte{10, 255, 255, 255}}, Span{[]byte{255, 0, 0, 0}, []byte{255, 255, 255, 255}}))},
		`udp dport 53 accept`:                    {rule(Accept, is(L4Proto, value(network.UDP)), is(DPort, value(0, 53)))},
		`tcp dport > 1023 accept`:                {rule(Accept, is(L4Proto, value(network.TCP)), not(is(DPort, Span{[]byte{0, 0}, []byte{3, 255}})))},
		`tcp dport < 1024 accept`:                {rule(Accept, is(L4Proto, value(network.TCP)), not(is(DPort, Span{[]byte{4, 0}, []byte{255, 255}})))},
		`icmp type echo-request accept`:          {rule(Accept, nfproto4, icmp, is(Unknown, value(8)))},
		`limit rate 1/second accept`:             {rule(Accept, is(Unknown))},
		`fib daddr type local accept`:            {rule(Accept, is(FibDAddrType, Span{number(typeLocal), number(typeLocal)}))},
		`fib saddr type local accept`:            {rule(Accept, is(Unknown, Span{number(typeLocal), number(typeLocal)}))},
		`fib daddr . iif type local accept`:      {rule(Accept, is(Unknown, Span{number(typeLocal), number(typeLocal)}))},
		`meta mark 7 meta mark set 9`:            {rule(Continue, is(Unknown, Span{number(7), number(7)}))},
		`iifname . oifname { "a" . "b" } accept`: {rule(Accept, is(IIFName, Span{append(name("a"), name("b")...), append(name("a"), name("b")...)}))},
	} {
		t.Run(text, func(t *testing.T) {
			emptyNamespace(t)
			shell(t, `nft 'add table inet t; add chain inet t other; add set inet t links { type ifname; elements = { "a0", "b0" }; }
				add chain inet t base { type filter hook forward priority 0; policy drop; }; add rule inet t base `+text+`'`)
			rules, err := Read("ours")
			require.NoError(t, err)
			require.Len(t, rules, 1)
			require.Equal(t, Chain{Hook: Forward, Drops: true, Rules: want}, rules[0].Chains["base"])
			_, reached := rules[0].Chains["other"]
			require.Equal(t, strings.Contains(text, "other"), reached)
		})
	}
}

func TestRulesOfIPTables(t *testing.T) {
	local := is(FibDAddrType, Span{number(typeLocal), number(typeLocal)})
	docker := value([]byte("docker0\x00")...)
	for text, want := range map[string]Rule{
		"-i mf+ -j ACCEPT": rule(Accept, in("mf*")),
		"-o mf+ -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT": rule(Accept, out("mf*"), state(2|4)),
		"-m conntrack ! --ctstate NEW -j DROP":                        rule(Drop, not(state(8))),
		"-m conntrack --ctstate NEW --ctproto tcp -j DROP":            rule(Drop, state(8), is(Unknown)),
		"-i mf+ -m comment --comment hello -j ACCEPT":                 rule(Accept, in("mf*")),
		"-s 10.86.0.0/16 -j ACCEPT":                                   rule(Accept, is(SAddr, value(10, 86))),
		"! -i docker0 -o docker0 -j DROP":                             rule(Drop, not(is(IIFName, docker)), is(OIFName, docker)),
		"-m addrtype --dst-type LOCAL -j RETURN":                      rule(Return, local),
		"-m addrtype ! --dst-type LOCAL -j RETURN":                    rule(Return, not(local)),
		"-m addrtype --src-type LOCAL --dst-type LOCAL -j RETURN":     rule(Return, is(Unknown), local),
		"-m length --length 100 -j ACCEPT":                            rule(Accept, is(Unknown)),
		"-j REJECT":                                                   rule(Drop),
		"-j LOG":                                                      rule(Continue),
		"-i mf+ -p udp --dport 53 -j ACCEPT":                          rule(Accept, in("mf*"), is(L4Proto, value(network.UDP)), is(DPort, value(0, 53))),
		"-p tcp --dport 50:60 -j ACCEPT":                              rule(Accept, is(L4Proto, value(network.TCP)), is(DPort, Span{[]byte{0, 50}, []byte{0, 60}})),
	} {
		t.Run(text, func(t *testing.T) {
			emptyNamespace(t, "iptables-nft")
			shell(t, "iptables-nft -P FORWARD DROP && iptables-nft -A FORWARD "+text)
			rules, err := Read("ours")
			require.NoError(t, err)
			require.Len(t, rules, 1)
			require.Equal(t, "ip", rules[0].Family)
			require.Equal(t, Chain{Hook: Forward, Drops: true, Rules: []Rule{want}}, rules[0].Chains["FORWARD"])
		})
	}
}

func TestReadLeavesOutWhatDoesNotMatter(t *testing.T) {
	emptyNamespace(t)
	shell(t, `nft 'add table inet ours-1; add chain inet ours-1 f { type filter hook forward priority 0; policy drop; }
		add table bridge b; add chain bridge b f { type filter hook forward priority 0; policy drop; }
		add table inet o; add chain inet o f { type filter hook output priority 0; policy drop; }
		add table ip6 t; add chain ip6 t unused; add chain ip6 t i { type filter hook input priority 0; policy drop; }'`)
	rules, err := Read("ours-")
	require.NoError(t, err)
	require.Equal(t, Ruleset{{Family: "ip6", Name: "t", Chains: map[string]Chain{"i": {Hook: Input, Drops: true}}}}, rules)
}

// Versions of nft write ranges in different ways, so that here it is about
// what they mean.
func TestRangesOfNft(t *testing.T) {
	for ports, drops := range map[string]bool{"50-60": false, "53-60": false, "50-53": false, "54-60": true, "!= 54-60": false} {
		t.Run(ports, func(t *testing.T) {
			emptyNamespace(t)
			shell(t, `nft 'add table ip t; add chain ip t base { type filter hook input priority 0; policy drop; }
				add rule ip t base meta l4proto { tcp, udp } th dport `+ports+` accept'`)
			rules, err := Read("ours")
			require.NoError(t, err)
			found := rules.Obstacles(Input, worker.ToResolver(netip.MustParseAddr("192.0.2.1")))
			require.Equal(t, drops, len(found) == 1)
		})
	}
}
