package nameserver

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// The types that dnsmessage does not name, or that no question may have.
const (
	typeIXFR dnsmessage.Type = 251
	typeAXFR                 = dnsmessage.TypeAXFR
	typeANY                  = dnsmessage.TypeALL
)

// query returns a question as a client with EDNS sends it.
func query(t testing.TB, name string, kind dnsmessage.Type) []byte {
	t.Helper()
	return pack(t, queryMessage(name, kind))
}

func queryMessage(name string, kind dnsmessage.Type) dnsmessage.Message {
	edns := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(".")}
	if err := edns.SetEDNS0(1232, dnsmessage.RCodeSuccess, true); err != nil {
		panic(err)
	}
	return dnsmessage.Message{
		Header: dnsmessage.Header{ID: 0x1234, RecursionDesired: true, AuthenticData: true},
		Questions: []dnsmessage.Question{
			{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET},
		},
		Additionals: []dnsmessage.Resource{{Header: edns, Body: &dnsmessage.OPTResource{}}},
	}
}

func pack(t testing.TB, message dnsmessage.Message) []byte {
	t.Helper()
	msg, err := message.Pack()
	require.NoError(t, err)
	return msg
}

func unpack(t testing.TB, msg []byte) dnsmessage.Message {
	t.Helper()
	var message dnsmessage.Message
	require.NoError(t, message.Unpack(msg))
	return message
}

func TestDecide(t *testing.T) {
	listed := mustParseNames(t, "gitlab.com", "*.gitlab.com")
	for name, test := range map[string]struct {
		names Names
		name  string
		kind  dnsmessage.Type
		want  verdict
	}{
		"listed":                     {listed, "gitlab.com.", dnsmessage.TypeA, verdict{do: forward}},
		"listed, in capitals":        {listed, "GITLAB.com.", dnsmessage.TypeAAAA, verdict{do: forward}},
		"below a listed one":         {listed, "a.b.gitlab.com.", dnsmessage.TypeTXT, verdict{do: forward}},
		"another":                    {listed, "evil.test.", dnsmessage.TypeA, refusal("evil.test.")},
		"the root":                   {listed, ".", dnsmessage.TypeNS, refusal(".")},
		"reverse":                    {listed, "1.2.0.192.in-addr.arpa.", dnsmessage.TypePTR, refusal("1.2.0.192.in-addr.arpa.")},
		"no list":                    {Names{}, "evil.test.", dnsmessage.TypeA, verdict{do: forward}},
		"reverse without list":       {Names{}, "1.2.0.192.in-addr.arpa.", dnsmessage.TypePTR, verdict{do: forward}},
		"ANY":                        {listed, "gitlab.com.", typeANY, verdict{do: reply, code: dnsmessage.RCodeRefused}},
		"ANY without list":           {Names{}, "gitlab.com.", typeANY, verdict{do: reply, code: dnsmessage.RCodeRefused}},
		"zone transfer":              {listed, "gitlab.com.", typeAXFR, verdict{do: reply, code: dnsmessage.RCodeRefused}},
		"incremental zone transfer":  {listed, "gitlab.com.", typeIXFR, verdict{do: reply, code: dnsmessage.RCodeRefused}},
		"last type of records":       {listed, "gitlab.com.", 127, verdict{do: forward}},
		"CAA, beyond the meta types": {listed, "gitlab.com.", 257, verdict{do: forward}},
		"HTTPS":                      {listed, "gitlab.com.", typeHTTPS, verdict{do: reply}},
		"SVCB":                       {listed, "gitlab.com.", typeSVCB, verdict{do: reply}},
		"HTTPS of another":           {listed, "evil.test.", typeHTTPS, refusal("evil.test.")},
		"HTTPS without list":         {Names{}, "gitlab.com.", typeHTTPS, verdict{do: forward}},
	} {
		t.Run(name, func(t *testing.T) {
			got := decide(test.names, query(t, test.name, test.kind))
			require.Equal(t, test.name, got.asked[0].Name.String())
			require.NotNil(t, got.edns)
			got.question = question{}
			require.Equal(t, test.want, got)
		})
	}
}

func refusal(name string) verdict {
	return verdict{do: reply, code: dnsmessage.RCodeNameError, unlisted: name}
}

func TestDecideOnWhatIsNoQuestion(t *testing.T) {
	const formatError, notImplemented = dnsmessage.RCodeFormatError, dnsmessage.RCodeNotImplemented
	good := queryMessage("gitlab.com.", dnsmessage.TypeA)
	changed := func(change func(*dnsmessage.Message)) []byte {
		message := queryMessage("gitlab.com.", dnsmessage.TypeA)
		change(&message)
		return pack(t, message)
	}
	record := dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("gitlab.com."), Class: dnsmessage.ClassINET},
		Body:   &dnsmessage.AResource{},
	}
	for name, test := range map[string]struct {
		msg  []byte
		do   action
		code dnsmessage.RCode
	}{
		"nothing":         {nil, ignore, 0},
		"half a header":   {pack(t, good)[:11], ignore, 0},
		"an answer":       {changed(func(m *dnsmessage.Message) { m.Response = true }), ignore, 0},
		"an update":       {changed(func(m *dnsmessage.Message) { m.OpCode = 5 }), reply, notImplemented},
		"a notification":  {changed(func(m *dnsmessage.Message) { m.OpCode = 4 }), reply, notImplemented},
		"class CHAOS":     {changed(func(m *dnsmessage.Message) { m.Questions[0].Class = dnsmessage.ClassCHAOS }), reply, notImplemented},
		"class ANY":       {changed(func(m *dnsmessage.Message) { m.Questions[0].Class = dnsmessage.ClassANY }), reply, notImplemented},
		"only a header":   {pack(t, good)[:12], reply, formatError},
		"half a question": {pack(t, good)[:20], reply, formatError},
		"half an option":  {pack(t, good)[:len(pack(t, good))-1], reply, formatError},
		"no question":     {changed(func(m *dnsmessage.Message) { m.Questions = nil }), reply, formatError},
		"two questions":   {changed(func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions[0]) }), reply, formatError},
		"with answers":    {changed(func(m *dnsmessage.Message) { m.Answers = []dnsmessage.Resource{record} }), reply, formatError},
		"with authority":  {changed(func(m *dnsmessage.Message) { m.Authorities = []dnsmessage.Resource{record} }), reply, formatError},
		"two EDNS":        {changed(func(m *dnsmessage.Message) { m.Additionals = append(m.Additionals, m.Additionals[0]) }), reply, formatError},
		"dot in a label":  {bytes.Replace(pack(t, good), []byte("gitlab"), []byte("git.ab"), 1), reply, formatError},
		"pointer to id":   {pointing(0), reply, formatError},
		"pointer forward": {pointing(18), reply, formatError},
		"pointer to self": {pointing(headerSize), reply, formatError},
	} {
		t.Run(name, func(t *testing.T) {
			got := decide(mustParseNames(t, "gitlab.com", "a"), test.msg)
			require.Equal(t, test.do, got.do)
			require.Equal(t, test.code, got.code)
		})
	}
}

// pointing returns a question for "a" whose name is a pointer to a place in the
// message; what is at 0 and behind the question is a name.
func pointing(to byte) []byte {
	msg := []byte{1, 'a', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, to, 0, 1, 0, 1}
	return append(msg, 1, 'a', 0)
}

func TestAnswer(t *testing.T) {
	v := decide(mustParseNames(t, "gitlab.com"), query(t, "evil.test.", dnsmessage.TypeA))
	msg, err := v.own()
	require.NoError(t, err)
	got := unpack(t, msg)
	require.Equal(t, dnsmessage.Header{
		ID: 0x1234, Response: true, RecursionDesired: true, RecursionAvailable: true, RCode: dnsmessage.RCodeNameError,
	}, got.Header)
	require.Equal(t, v.asked, got.Questions)
	require.Empty(t, got.Answers)
	require.Len(t, got.Additionals, 1)
	require.True(t, got.Additionals[0].Header.DNSSECAllowed())
	require.Equal(t, &dnsmessage.OPTResource{Options: []dnsmessage.Option{
		{Code: 15, Data: []byte("\x00\x12not in network.domains")},
	}}, got.Additionals[0].Body)
}

func TestAnswerWithoutEDNSToOneWithout(t *testing.T) {
	message := queryMessage("evil.test.", dnsmessage.TypeA)
	message.Additionals = nil
	msg, err := decide(mustParseNames(t, "gitlab.com"), pack(t, message)).own()
	require.NoError(t, err)
	require.Empty(t, unpack(t, msg).Additionals)
}

func TestTruncated(t *testing.T) {
	msg, err := decide(Names{}, query(t, "gitlab.com.", dnsmessage.TypeA)).truncated()
	require.NoError(t, err)
	require.True(t, unpack(t, msg).Truncated)
}

func TestBelongs(t *testing.T) {
	q := decide(Names{}, query(t, "gitlab.com.", dnsmessage.TypeA)).question
	for name, test := range map[string]struct {
		change func(*dnsmessage.Message)
		want   bool
	}{
		"the answer":        {func(*dnsmessage.Message) {}, true},
		"in capitals":       {func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("GITLAB.COM.") }, true},
		"a failure":         {func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeServerFailure }, true},
		"another id":        {func(m *dnsmessage.Message) { m.ID++ }, false},
		"a question":        {func(m *dnsmessage.Message) { m.Response = false }, false},
		"another operation": {func(m *dnsmessage.Message) { m.OpCode = 4 }, false},
		"another name":      {func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("gitlab.org.") }, false},
		"another type":      {func(m *dnsmessage.Message) { m.Questions[0].Type = dnsmessage.TypeAAAA }, false},
		"another class":     {func(m *dnsmessage.Message) { m.Questions[0].Class = dnsmessage.ClassCHAOS }, false},
		"no question":       {func(m *dnsmessage.Message) { m.Questions = nil }, false},
		"two questions":     {func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions[0]) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			message := queryMessage("gitlab.com.", dnsmessage.TypeA)
			message.Response, message.ID = true, 7
			test.change(&message)
			require.Equal(t, test.want, q.belongs(7, pack(t, message)))
		})
	}
	require.False(t, q.belongs(7, nil))
	require.False(t, q.belongs(0, make([]byte, headerSize)))
}
