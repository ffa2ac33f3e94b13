package nameserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Options say how one worker's questions are answered.
type Options struct {
	// Names may be looked up.
	Names Names
	// Resolvers answer. It is called for every question, as a laptop changes
	// networks; the next is asked when one does not answer or says that it
	// cannot.
	Resolvers func() []netip.AddrPort
	// Learn is called with the addresses in an answer, if it has any, before the
	// guest has the answer. When it fails, the guest gets "server failure".
	// Several calls may be under way at once; each must end when its context
	// does. May be nil.
	Learn func(context.Context, []Learnt) error
	// Refused is called with a name that was refused because it is not listed:
	// once a minute for each name and a hundred times at most, since a guest
	// chooses the names. What is not printable ASCII is escaped. It must return
	// soon: the guest's other questions wait meanwhile. May be nil.
	Refused func(name string)
	// Log receives, no more often, which resolvers do not answer; nil for none.
	Log *slog.Logger
}

// bounds are what one guest may take of this process.
type bounds struct {
	// questions are under way at once, and TCP connections open.
	questions, connections int
	// question is how long all about one question may take, resolver how long
	// one resolver may, idle how long a guest may take over a message by TCP.
	question, resolver, idle time.Duration
}

var usual = bounds{
	questions: 64, connections: 16,
	question: 5 * time.Second, resolver: 2 * time.Second, idle: 10 * time.Second,
}

// Server answers one worker's questions.
type Server struct {
	options Options
	bounds  bounds
	udp     net.PacketConn
	tcp     net.Listener
	// questions has an entry for each question under way, connections one for
	// each TCP connection.
	questions, connections chan struct{}
	refused, troubles      *once
	ctx                    context.Context // ends with Close
	running                sync.WaitGroup
	close                  func() error
}

// Serve answers questions from the two sockets, which are the server's from now
// on, until Close.
func Serve(udp net.PacketConn, tcp net.Listener, o Options) *Server {
	return serve(udp, tcp, o, usual)
}

func serve(udp net.PacketConn, tcp net.Listener, o Options, b bounds) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		options: o, bounds: b, udp: udp, tcp: tcp, ctx: ctx,
		questions: make(chan struct{}, b.questions), connections: make(chan struct{}, b.connections),
		refused: newOnce(), troubles: newOnce(),
	}
	s.close = sync.OnceValue(func() error {
		cancel()
		err := errors.Join(udp.Close(), tcp.Close())
		s.running.Wait()
		return err
	})
	s.running.Go(s.listen)
	s.running.Go(s.accept)
	return s
}

// Close ends everything that the server does, and waits for it. It is
// idempotent.
func (s *Server) Close() error { return s.close() }

// listen reads questions by UDP. What needs no resolver is answered at once;
// else a question that finds no place is dropped, and the guest asks again.
func (s *Server) listen() {
	buffer := make([]byte, maxUDP+1)
	for s.ctx.Err() == nil {
		n, from, err := s.udp.ReadFrom(buffer)
		if err != nil {
			s.falter(fmt.Errorf("reading a question: %w", err))
			continue
		}
		if n > maxUDP {
			continue
		}
		v := decide(s.options.Names, buffer[:n])
		if v.do != forward {
			s.send(s.settle(v), from)
			continue
		}
		select {
		case s.questions <- struct{}{}:
		default:
			continue
		}
		msg := bytes.Clone(buffer[:n])
		s.running.Go(func() {
			defer func() { <-s.questions }()
			s.send(s.pass("udp", v.question, msg), from)
		})
	}
}

func (s *Server) send(answer []byte, to net.Addr) {
	if answer == nil {
		return
	}
	if _, err := s.udp.WriteTo(answer, to); err != nil {
		s.trouble(fmt.Errorf("sending an answer: %w", cause(err)))
	}
}

// settle gives the answer that needs no resolver; nil when there is none.
func (s *Server) settle(v verdict) []byte {
	if v.do == ignore {
		return nil
	}
	if v.unlisted != "" {
		s.refuse(v.unlisted)
	}
	return s.packed(v.own())
}

// pass gives the answer of a resolver, from which the caller has learnt. When
// the server ends meanwhile there is none: the guest asks again, and may find
// the server that comes next.
func (s *Server) pass(network string, q question, msg []byte) []byte {
	ctx, cancel := context.WithTimeout(s.ctx, s.bounds.question)
	defer cancel()
	answer, err := s.ask(ctx, network, q, msg)
	if err == nil {
		err = s.learn(ctx, answer)
	}
	switch {
	case s.ctx.Err() != nil:
		return nil
	case err != nil:
		s.trouble(err)
		return s.packed(q.answer(dnsmessage.RCodeServerFailure))
	}
	return answer
}

// learn has the caller learn from an answer.
func (s *Server) learn(ctx context.Context, answer []byte) error {
	if s.options.Learn == nil {
		return nil
	}
	found, err := learnt(answer)
	if err != nil || len(found) == 0 {
		return err
	}
	if err := s.options.Learn(ctx, found); err != nil {
		return fmt.Errorf("learning the addresses of an answer: %w", err)
	}
	return nil
}

// packed is the message, nil when it could not be made: of a question that was
// understood it always can.
func (s *Server) packed(msg []byte, err error) []byte {
	if err != nil {
		s.trouble(fmt.Errorf("writing an answer: %w", err))
		return nil
	}
	return msg
}

// falter reports an error of a socket that others share, and waits a little, so
// that one that stays does not keep a processor busy.
func (s *Server) falter(err error) {
	s.trouble(err)
	select {
	case <-s.ctx.Done():
	case <-time.After(100 * time.Millisecond):
	}
}

// trouble logs what went wrong, unless it is that the server ends.
func (s *Server) trouble(err error) {
	if s.ctx.Err() == nil && s.troubles.first(err.Error(), time.Now()) {
		s.options.Log.Warn("answering a worker's question", "error", err)
	}
}

// refuse reports a name in the form that a list of names has it in.
func (s *Server) refuse(name string) {
	if name != "." {
		name = printable(lower(strings.TrimSuffix(name, ".")))
	}
	if s.options.Refused != nil && s.refused.first(name, time.Now()) {
		s.options.Refused(name)
	}
}
