package nameserver

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Learnt is an address that an answer gave for an allowed name. It is what some
// server says, and may be any address, a private one too.
type Learnt struct {
	Addr netip.Addr
	// TTL is how long the guest may use the address without asking again, from
	// nothing to 68 years.
	TTL time.Duration
}

// learnt returns the addresses that an answer has for its question: of the name
// in it, and of the names that CNAME records lead to from there. Records
// of other names are ignored.
func learnt(msg []byte) ([]Learnt, error) {
	asked, records, err := records(msg)
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	var found []Learnt
	at := map[netip.Addr]int{}
	for name := lower(asked.Name.String()); name != ""; {
		owner := records[name]
		delete(records, name) // a ring of aliases ends where it began
		for _, l := range owner.addresses {
			if i, twice := at[l.Addr]; twice {
				found[i].TTL = max(found[i].TTL, l.TTL)
				continue
			}
			at[l.Addr] = len(found)
			found = append(found, l)
		}
		name = owner.alias
	}
	return found, nil
}

// owned is what an answer says about one name: another name for it, if any, and
// addresses.
type owned struct {
	alias     string
	addresses []Learnt
}

// records returns the question of an answer, and its answer section by name in
// lower case.
func records(msg []byte) (dnsmessage.Question, map[string]owned, error) {
	var parser dnsmessage.Parser
	if _, err := parser.Start(msg); err != nil {
		return dnsmessage.Question{}, nil, err
	}
	asked, err := parser.Question()
	if err != nil {
		return dnsmessage.Question{}, nil, err
	}
	if err := parser.SkipAllQuestions(); err != nil {
		return dnsmessage.Question{}, nil, err
	}
	found := map[string]owned{}
	for {
		header, err := parser.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return asked, found, nil
		}
		if err != nil {
			return dnsmessage.Question{}, nil, err
		}
		name := lower(header.Name.String())
		if found[name], err = found[name].with(header, &parser); err != nil {
			return dnsmessage.Question{}, nil, err
		}
	}
}

// with adds the record that the parser has come to.
func (o owned) with(header dnsmessage.ResourceHeader, parser *dnsmessage.Parser) (owned, error) {
	switch {
	case header.Class != dnsmessage.ClassINET:
	case header.Type == dnsmessage.TypeCNAME:
		record, err := parser.CNAMEResource()
		if o.alias == "" {
			o.alias = lower(record.CNAME.String())
		}
		return o, err
	case header.Type == dnsmessage.TypeA && header.Length == 4:
		record, err := parser.AResource()
		o.addresses = append(o.addresses, Learnt{Addr: netip.AddrFrom4(record.A), TTL: ttl(header)})
		return o, err
	case header.Type == dnsmessage.TypeAAAA && header.Length == 16:
		record, err := parser.AAAAResource()
		if addr := netip.AddrFrom16(record.AAAA); !addr.Is4In6() { // nobody is there in IPv6
			o.addresses = append(o.addresses, Learnt{Addr: addr, TTL: ttl(header)})
		}
		return o, err
	}
	return o, parser.SkipAnswer()
}

// ttl takes what would be negative for nothing, as RFC 2181 has it.
func ttl(header dnsmessage.ResourceHeader) time.Duration {
	if header.TTL >= 1<<31 {
		return 0
	}
	return time.Duration(header.TTL) * time.Second
}
