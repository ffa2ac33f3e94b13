package guest

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func identity() Identity {
	return Identity{
		Hostname:      "default-abcdefgh",
		MachineID:     "0123456789abcdef0123456789abcdef",
		HostKey:       "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
		HostKeyPublic: "ssh-ed25519 AAAA",
		User:          "mayfly",
		AuthorizedKey: "ssh-ed25519 BBBB",
	}
}

func rekeyRequest(change func(*Rekey)) Request {
	rekey := &Rekey{Identity: identity(), Fresh: Fresh{Entropy: make([]byte, MinEntropy), Time: time.Unix(1, 0)}}
	change(rekey)
	return Request{Version: Version, Op: OpRekey, Rekey: rekey}
}

func putRequest(p Put) Request { return Request{Version: Version, Op: OpPut, Put: &p} }

func TestRequestsThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		request Request
		want    string
	}{
		"another version":         {Request{Version: Version + 1, Op: OpSeal}, "version does not match"},
		"unknown operation":       {Request{Version: Version, Op: "format-disk"}, `unknown operation "format-disk"`},
		"run without a command":   {Request{Version: Version, Op: OpRun}, "without a command"},
		"fetch without a path":    {Request{Version: Version, Op: OpFetch}, "without a path"},
		"rekey without identity":  {Request{Version: Version, Op: OpRekey}, "without an identity"},
		"too little entropy":      {rekeyRequest(func(r *Rekey) { r.Entropy = r.Entropy[1:] }), "31 bytes of entropy"},
		"too much entropy":        {rekeyRequest(func(r *Rekey) { r.Entropy = make([]byte, MaxEntropy+1) }), "513 bytes of entropy"},
		"no time":                 {rekeyRequest(func(r *Rekey) { r.Time = time.Time{} }), "without the time"},
		"wake without anything":   {Request{Version: Version, Op: OpWake}, "wake without the time"},
		"wake without entropy":    {Request{Version: Version, Op: OpWake, Wake: &Fresh{Time: time.Unix(1, 0)}}, "wake with 0 bytes of entropy"},
		"hostname with a line":    {rekeyRequest(func(r *Rekey) { r.Hostname = "a\nb" }), "hostname is missing or malformed"},
		"short machine id":        {rekeyRequest(func(r *Rekey) { r.MachineID = "abc" }), "machine_id is missing or malformed"},
		"no host key":             {rekeyRequest(func(r *Rekey) { r.HostKey = "" }), "host_key is missing or malformed"},
		"user that is an option":  {rekeyRequest(func(r *Rekey) { r.User = "-x" }), "user is missing or malformed"},
		"await without an user":   {Request{Version: Version, Op: OpAwait}, "without an account"},
		"await of a strange link": {Request{Version: Version, Op: OpAwait, Await: &Await{User: "mayfly", Link: Link{MTU: 68}}}, "link"},
		"await of a strange one":  {Request{Version: Version, Op: OpAwait, Await: &Await{User: "../x"}}, "malformed"},
		"put of nothing":          {Request{Version: Version, Op: OpPut}, "put without what"},
		"put of a relative path":  {putRequest(Put{File: File{Path: "etc/motd"}}), "absolute path"},
		"put of an odd path":      {putRequest(Put{File: File{Path: "/etc/../motd"}}), "absolute path"},
		"put of the root":         {putRequest(Put{File: File{Path: "/"}}), "absolute path"},
		"put with an odd mode":    {putRequest(Put{File: File{Path: "/etc/motd", Mode: 0o10000}}), "mode"},
		"put before its start":    {putRequest(Put{File: File{Path: "/etc/motd"}, Offset: -1}), "offset"},
		"setenv of nothing":       {Request{Version: Version, Op: OpSetenv}, "setenv without what"},
		"setenv of an odd name": {Request{Version: Version, Op: OpSetenv, Variable: &Variable{Name: "A B"}},
			"name of a variable"},
		"setenv of a NUL": {Request{Version: Version, Op: OpSetenv, Variable: &Variable{"A", "a\x00b"}},
			"malformed value"},
		"two authorized keys": {rekeyRequest(func(r *Rekey) { r.AuthorizedKey = "a\nb" }),
			"authorized_key is missing or malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, test.request.Validate(), test.want)
		})
	}
}

func TestIdentityReportsAllMistakesAtOnce(t *testing.T) {
	err := Identity{}.validate()
	for _, field := range []string{"hostname", "machine_id", "host_key", "host_key_public", "user", "authorized_key"} {
		require.ErrorContains(t, err, field+" is missing")
	}
}

func TestGoodRequests(t *testing.T) {
	for _, request := range []Request{
		rekeyRequest(func(*Rekey) {}),
		{Version: Version, Op: OpWake, Wake: &Fresh{Entropy: make([]byte, MaxEntropy), Time: time.Unix(1, 0)}},
		{Version: Version, Op: OpRun, Command: "true"},
		{Version: Version, Op: OpFetch, Path: "/etc/os-release"},
		{Version: Version, Op: OpNetwork},
		{Version: Version, Op: OpInspect},
		{Version: Version, Op: OpOffline},
		{Version: Version, Op: OpAwait, Await: &Await{User: "mayfly"}},
		{Version: Version, Op: OpSeal},
		{Version: Version, Op: OpPowerOff},
	} {
		require.NoError(t, request.Validate(), request.Op)
	}
}

func TestReaderGoesOnAfterRubbish(t *testing.T) {
	stream := strings.Join([]string{
		`rubbish`,
		`{"v":1,"unknown":2}`,
		`{"v":1}{"v":1}`,
		strings.Repeat("x", MaxLine+100),
		`{"v":1,"id":7,"op":"seal"}`,
	}, "\n") + "\n"
	in := NewReader(strings.NewReader(stream))
	var got Request
	for range 3 {
		require.ErrorIs(t, in.Read(&got), ErrMessage)
	}
	require.ErrorIs(t, in.Read(&got), ErrTooLong)
	got = Request{}
	require.NoError(t, in.Read(&got))
	require.Equal(t, Request{Version: 1, ID: 7, Op: OpSeal}, got)
	require.ErrorIs(t, in.Read(&got), io.EOF)
}

func TestWriteRefusesWhatTheReaderWould(t *testing.T) {
	err := Write(io.Discard, Request{Command: strings.Repeat("x", MaxLine)})
	require.ErrorIs(t, err, ErrTooLong)
}

func TestLargestEventFitsALine(t *testing.T) {
	var line bytes.Buffer
	require.NoError(t, Write(&line, Event{Version: Version, ID: 1<<64 - 1, Output: bytes.Repeat([]byte{0xff}, MaxChunk)}))
	var back Event
	require.NoError(t, NewReader(&line).Read(&back))
	require.Len(t, back.Output, MaxChunk)
}

// FuzzReader holds that no stream makes either end's parser panic, run for
// ever, or hand on a request that was not validated.
func FuzzReader(f *testing.F) {
	f.Add([]byte("{\"v\":1,\"id\":1,\"op\":\"seal\"}\n"))
	f.Add([]byte("\n\n{}\n[]\nnull\n"))
	f.Add([]byte("{\"v\":1,\"id\":1,\"op\":\"rekey\",\"rekey\":{\"entropy\":\"AAAA\",\"time\":\"2026-01-01T00:00:00Z\"}}\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		for _, message := range []func() any{func() any { return new(Request) }, func() any { return new(Event) }} {
			in := NewReader(bytes.NewReader(stream))
			for reads := 0; ; reads++ {
				if reads > len(stream)+1 {
					t.Fatal("more messages than bytes")
				}
				got := message()
				err := in.Read(got)
				if err == nil {
					if request, ok := got.(*Request); ok {
						_ = request.Validate()
					}
					continue
				}
				if !errors.Is(err, ErrMessage) && !errors.Is(err, ErrTooLong) {
					break
				}
			}
		}
	})
}
