//go:build linux

package hostfirewall

import (
	"bytes"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// translation makes rules of the expressions of one rule of the kernel's.
// Expressions load something into a register and compare what is there.
type translation struct {
	// set returns the elements of a set of the rule's table.
	set func(name string) ([]nftables.SetElement, error)

	registers  map[uint32]loaded
	conditions []Condition
	verdict    Verdict
	// cases are those of a verdict map.
	cases []Rule
	err   error
}

// loaded is what a register holds.
type loaded struct {
	of   Field
	mask []byte
}

// rules returns what the expressions mean: one rule, or one for each case.
func (t *translation) rules() []Rule {
	if t.cases == nil {
		return []Rule{{If: t.conditions, Then: t.verdict}}
	}
	rules := make([]Rule, 0, len(t.cases))
	for _, c := range t.cases {
		rules = append(rules, Rule{If: append(c.If, t.conditions...), Then: c.Then})
	}
	return rules
}

func (t *translation) add(e expr.Any) {
	switch e := e.(type) {
	case *expr.Counter, *expr.Log, *expr.Immediate, *expr.Notrack, *expr.FlowOffload, *expr.CtHelper:
		// Decide nothing.
	case *expr.Meta:
		if !e.SourceRegister {
			t.load(e.Register, metaField(e.Key))
		}
	case *expr.Ct:
		if !e.SourceRegister {
			field := Unknown
			if e.Key == expr.CtKeySTATE {
				field = CTState
			}
			t.load(e.Register, field)
		}
	case *expr.Payload:
		if e.OperationType == expr.PayloadLoad {
			t.load(e.DestRegister, payloadField(e))
		}
	case *expr.Bitwise:
		t.mask(e)
	case *expr.Cmp:
		t.compare(e)
	case *expr.Range:
		t.when(e.Register, e.Op == expr.CmpOpNeq, Span{e.FromData, e.ToData})
	case *expr.Lookup:
		t.lookUp(e)
	case *expr.Match:
		t.match(e)
	case *expr.Verdict:
		t.verdict = verdict(e.Kind, e.Chain)
	case *expr.Reject:
		t.verdict = Verdict{Kind: Drop}
	case *expr.Target:
		if e.Name == "REJECT" {
			t.verdict = Verdict{Kind: Drop}
		}
	case *expr.Fib:
		field := Unknown
		if e.ResultADDRTYPE && e.FlagDADDR && !e.FlagIIF && !e.FlagOIF && !e.FlagMARK {
			field = FibDAddrType
		}
		t.load(e.Register, field)
	default:
		t.unknown()
	}
}

func (t *translation) load(register uint32, field Field) {
	if t.registers == nil {
		t.registers = make(map[uint32]loaded)
	}
	t.registers[register] = loaded{of: field}
}

func (t *translation) unknown() { t.conditions = append(t.conditions, Condition{Of: Unknown}) }

func (t *translation) when(register uint32, not bool, spans ...Span) {
	from := t.registers[register]
	t.conditions = append(t.conditions, Condition{Of: from.of, Mask: from.mask, Not: not, Spans: spans})
}

func (t *translation) mask(e *expr.Bitwise) {
	from := t.registers[e.SourceRegister]
	if from.mask != nil || len(e.Mask) == 0 || len(bytes.Trim(e.Xor, "\x00")) > 0 {
		from = loaded{}
	}
	t.load(e.DestRegister, from.of)
	if from.of != Unknown {
		t.registers[e.DestRegister] = loaded{from.of, e.Mask}
	}
}

// compare also knows ranges as older versions of nft write them: from one value
// on, and up to another.
func (t *translation) compare(e *expr.Cmp) {
	least, most := make([]byte, len(e.Data)), bytes.Repeat([]byte{0xff}, len(e.Data))
	switch e.Op {
	case expr.CmpOpEq, expr.CmpOpNeq:
		t.when(e.Register, e.Op == expr.CmpOpNeq, Span{e.Data, e.Data})
	case expr.CmpOpGte, expr.CmpOpLt:
		t.when(e.Register, e.Op == expr.CmpOpLt, Span{e.Data, most})
	case expr.CmpOpLte, expr.CmpOpGt:
		t.when(e.Register, e.Op == expr.CmpOpGt, Span{least, e.Data})
	}
}

// lookUp reads sets of fields that matter. Others may be large.
func (t *translation) lookUp(e *expr.Lookup) {
	from := t.registers[e.SourceRegister]
	decides := e.IsDestRegSet && e.DestRegister == unix.NFT_REG_VERDICT
	if e.IsDestRegSet && !decides {
		t.load(e.DestRegister, Unknown)
	}
	if from.of == Unknown && !decides {
		t.unknown()
		return
	}
	elements, err := t.set(e.SetName)
	if err != nil {
		t.err = err
		return
	}
	if !decides {
		t.when(e.SourceRegister, e.Invert, spansOf(elements)...)
		return
	}
	t.cases = []Rule{}
	for _, c := range casesOf(elements) {
		c.If = []Condition{{Of: from.of, Mask: from.mask, Spans: c.If[0].Spans}}
		t.cases = append(t.cases, c)
	}
}

func metaField(key expr.MetaKey) Field {
	switch key {
	case expr.MetaKeyIIFNAME:
		return IIFName
	case expr.MetaKeyOIFNAME:
		return OIFName
	case expr.MetaKeyNFPROTO:
		return NFProto
	case expr.MetaKeyL4PROTO:
		return L4Proto
	}
	return Unknown
}

// payloadField knows the places of addresses and ports. The lengths tell the
// families apart in tables of both: no other field there is as long.
func payloadField(e *expr.Payload) Field {
	const ip, transport = expr.PayloadBaseNetworkHeader, expr.PayloadBaseTransportHeader
	type place struct {
		base        expr.PayloadBase
		offset, len uint32
	}
	switch (place{e.Base, e.Offset, e.Len}) {
	case place{ip, 12, 4}, place{ip, 8, 16}:
		return SAddr
	case place{ip, 16, 4}, place{ip, 24, 16}:
		return DAddr
	case place{transport, 2, 2}:
		return DPort
	case place{ip, 9, 1}:
		return L4Proto
	}
	if e.Base == ip && e.Len < 4 { // a short prefix of IPv4
		switch e.Offset {
		case 12:
			return SAddr
		case 16:
			return DAddr
		}
	}
	return Unknown
}

func verdict(kind expr.VerdictKind, chain string) Verdict {
	kinds := map[expr.VerdictKind]Kind{
		expr.VerdictAccept: Accept, expr.VerdictDrop: Drop, expr.VerdictReturn: Return,
		expr.VerdictJump: Jump, expr.VerdictGoto: Goto,
	}
	return Verdict{Kind: kinds[kind], Chain: chain}
}
