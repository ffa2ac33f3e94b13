//go:build linux

package hostfirewall

import (
	"bytes"
	"maps"
	"slices"
)

// Obstacle is a chain at a hook that drops what workers send or are sent.
type Obstacle struct {
	Family, Table, Chain string
	Hook                 Hook
	// Chains are the names of those that it leads to, directly or not.
	Chains []string
}

// Obstacles returns the chains at the hook that drop any of the packets.
func (r Ruleset) Obstacles(hook Hook, packets []Packet) []Obstacle {
	var found []Obstacle
	for _, table := range r {
		for _, name := range slices.Sorted(maps.Keys(table.Chains)) {
			drops := func(p Packet) bool { return table.drops(name, p) }
			if table.Chains[name].Hook == hook && slices.ContainsFunc(packets, drops) {
				found = append(found, Obstacle{table.Family, table.Name, name, hook, table.behind(name)})
			}
		}
	}
	return found
}

// behind lists the chains that a chain leads to, and itself.
func (t Table) behind(chain string) []string {
	reached := []string{chain}
	for n := 0; n < len(reached); n++ {
		for _, rule := range t.Chains[reached[n]].Rules {
			if next := rule.Then.Chain; next != "" && !slices.Contains(reached, next) {
				reached = append(reached, next)
			}
		}
	}
	return reached
}

// drops tells what becomes of the packet in a chain at a hook. It is dropped
// only for certain: rules that may or may not apply are passed over, since what
// they drop is most often meant, and what they accept is not all.
func (t Table) drops(chain string, p Packet) bool {
	family := p[NFProto][0]
	if t.Family == "ip" && family != familyIPv4 || t.Family == "ip6" && family != familyIPv6 {
		return false
	}
	switch t.follow(chain, p, maxDepth) {
	case Accept:
		return false
	case Drop:
		return true
	}
	return t.Chains[chain].Drops
}

// maxDepth is how deep the kernel lets chains jump.
const maxDepth = 16

// follow returns the verdict on the packet, Accept or Drop, or Return when the
// chain has none.
func (t Table) follow(chain string, p Packet, depth int) Kind {
	if depth == 0 {
		return Return
	}
	for _, rule := range t.Chains[chain].Rules {
		if rule.applies(p) != yes {
			continue
		}
		switch verdict := rule.Then; verdict.Kind {
		case Accept, Drop, Return:
			return verdict.Kind
		case Goto:
			return t.follow(verdict.Chain, p, depth-1)
		case Jump:
			if end := t.follow(verdict.Chain, p, depth-1); end != Return {
				return end
			}
		}
	}
	return Return
}

// answer is what can be said about a packet of which not all is known.
type answer int

const (
	no answer = iota
	maybe
	yes
)

func (r Rule) applies(p Packet) answer {
	all := yes
	for _, condition := range r.If {
		all = min(all, condition.holds(p))
	}
	return all
}

func (c Condition) holds(p Packet) answer {
	value, known := p[c.Of]
	if !known || len(value) < len(c.Mask) {
		return maybe
	}
	if c.Mask != nil {
		value = masked(value, c.Mask)
	}
	found := false
	for _, span := range c.Spans {
		if len(value) < len(span.First) || len(span.First) != len(span.Last) {
			return maybe
		}
		head := value[:len(span.First)]
		found = found || bytes.Compare(span.First, head) <= 0 && bytes.Compare(head, span.Last) <= 0
	}
	if found != c.Not {
		return yes
	}
	return no
}

func masked(value, mask []byte) []byte {
	result := make([]byte, len(mask))
	for i := range mask {
		result[i] = value[i] & mask[i]
	}
	return result
}
