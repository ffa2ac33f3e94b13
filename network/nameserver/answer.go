package nameserver

import (
	"encoding/binary"

	"golang.org/x/net/dns/dnsmessage"
)

// The option of EDNS that says more about a failure (RFC 8914), and its code for
// what an operator does not let this client ask.
const (
	extendedError = 15
	prohibited    = 18
)

// truncatedBit is in the third byte of a message.
const truncatedBit = 1 << 1

// answer returns the message that answers the question with a code and no
// records. A guest that speaks EDNS is answered with EDNS: it would take us for
// a server without otherwise, and do without for all that follows.
func (q question) answer(code dnsmessage.RCode, options ...dnsmessage.Option) ([]byte, error) {
	message := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: q.header.ID, OpCode: q.header.OpCode, RCode: code, Response: true,
			RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true,
			CheckingDisabled: q.header.CheckingDisabled,
		},
		Questions: q.asked,
	}
	if q.edns != nil {
		var header dnsmessage.ResourceHeader
		if err := header.SetEDNS0(maxUDP, code, q.edns.DNSSECAllowed()); err != nil {
			return nil, err
		}
		message.Additionals = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.OPTResource{Options: options}}}
	}
	return message.Pack()
}

// truncated is the answer that has the guest ask again, by TCP.
func (q question) truncated() ([]byte, error) {
	msg, err := q.answer(dnsmessage.RCodeSuccess)
	if err != nil {
		return nil, err
	}
	msg[2] |= truncatedBit
	return msg, nil
}

// own is the answer that a verdict gives.
func (v verdict) own() ([]byte, error) {
	if v.unlisted == "" {
		return v.answer(v.code)
	}
	why := binary.BigEndian.AppendUint16(nil, prohibited)
	why = append(why, "not in network.domains"...)
	return v.answer(v.code, dnsmessage.Option{Code: extendedError, Data: why})
}

// belongs tells whether the message is an answer to the question, asked with
// this id.
func (q question) belongs(id uint16, msg []byte) bool {
	var parser dnsmessage.Parser
	header, err := parser.Start(msg)
	if err != nil || header.ID != id || !header.Response || header.OpCode != 0 {
		return false
	}
	questions, err := parser.AllQuestions()
	if err != nil || len(questions) != 1 {
		return false
	}
	a, b := questions[0], q.asked[0]
	return a.Type == b.Type && a.Class == b.Class && lower(a.Name.String()) == lower(b.Name.String())
}

// failed tells whether the answer says that its server cannot or will not
// answer, so that another may be asked.
func failed(msg []byte) bool {
	switch dnsmessage.RCode(msg[3] & 0xf) {
	case dnsmessage.RCodeServerFailure, dnsmessage.RCodeNotImplemented, dnsmessage.RCodeRefused:
		return true
	}
	return false
}
