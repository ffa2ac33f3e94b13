package nameserver

import (
	"bytes"
	"errors"

	"golang.org/x/net/dns/dnsmessage"
)

// headerSize is where the question of a message begins.
const headerSize = 12

// Types of questions that dnsmessage does not name.
const (
	typeSVCB  dnsmessage.Type = 64
	typeHTTPS dnsmessage.Type = 65
	// From firstMeta to lastMeta no type is one of records (RFC 6895): ANY,
	// zone transfers and orders to servers.
	firstMeta dnsmessage.Type = 128
	lastMeta  dnsmessage.Type = 255
)

// question is what a guest asks, as far as it was understood.
type question struct {
	header dnsmessage.Header
	// asked has at most one question.
	asked []dnsmessage.Question
	// edns is the guest's own, nil when it sent none.
	edns *dnsmessage.ResourceHeader
}

// verdict is what becomes of a message from a guest.
type verdict struct {
	question
	do action
	// code is that of the answer when we give it ourselves.
	code dnsmessage.RCode
	// unlisted is the name that is not on the list, when that is the reason.
	unlisted string
}

// action is what is done with a message.
type action int

const (
	ignore  action = iota // it is no question
	reply                 // we answer it ourselves
	forward               // a resolver answers it
)

// decide says what becomes of a message.
func decide(names Names, msg []byte) verdict {
	var parser dnsmessage.Parser
	header, err := parser.Start(msg)
	if err != nil || header.Response {
		return verdict{} // an answer to it could start a loop
	}
	v := verdict{question: question{header: header}, do: reply}
	if header.OpCode != 0 {
		v.code = dnsmessage.RCodeNotImplemented
		return v
	}
	if !v.understand(&parser, msg) {
		v.code = dnsmessage.RCodeFormatError
		return v
	}
	v.judge(names, v.asked[0])
	return v
}

// understand reads what is behind the header. It is strict: what we read
// otherwise than the resolver does could get past the list.
func (q *question) understand(parser *dnsmessage.Parser, msg []byte) bool {
	if !bytes.Equal(msg[4:10], []byte{0, 1, 0, 0, 0, 0}) { // one question, no answer, no authority
		return false
	}
	asked, err := parser.Question()
	if err != nil || !plain(asked, msg) {
		return false
	}
	q.asked = []dnsmessage.Question{asked}
	if parser.SkipAllQuestions() != nil || parser.SkipAllAnswers() != nil || parser.SkipAllAuthorities() != nil {
		return false
	}
	for {
		header, err := parser.AdditionalHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return true
		}
		if err != nil || parser.SkipAdditional() != nil {
			return false
		}
		if header.Type != dnsmessage.TypeOPT {
			continue
		}
		if q.edns != nil {
			return false
		}
		q.edns = &header
	}
}

// plain says whether the message has the question without compression. A pointer
// in its name may lead into the header, to the id, which we change: then the
// resolver would be asked for another name than the one that was judged.
func plain(asked dnsmessage.Question, msg []byte) bool {
	builder := dnsmessage.NewBuilder(nil, dnsmessage.Header{})
	if builder.StartQuestions() != nil || builder.Question(asked) != nil {
		return false
	}
	packed, err := builder.Finish()
	return err == nil && bytes.HasPrefix(msg[headerSize:], packed[headerSize:])
}

func (v *verdict) judge(names Names, asked dnsmessage.Question) {
	switch name := asked.Name.String(); {
	case asked.Class != dnsmessage.ClassINET:
		v.code = dnsmessage.RCodeNotImplemented
	case !names.allows(name):
		// Not "refused": some libraries of C take that for no answer at all, and
		// have their programs wait.
		v.code, v.unlisted = dnsmessage.RCodeNameError, name
	case asked.Type >= firstMeta && asked.Type <= lastMeta:
		v.code = dnsmessage.RCodeRefused
	case !names.empty() && (asked.Type == typeHTTPS || asked.Type == typeSVCB):
		// Their answers name addresses that nobody learns. Clients ask for the
		// usual kinds of address too.
		v.code = dnsmessage.RCodeSuccess
	default:
		v.do = forward
	}
}
