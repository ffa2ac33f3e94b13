package nameserver

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// accept takes as many TCP connections as may be open at once; others wait in the
// kernel.
func (s *Server) accept() {
	for {
		select {
		case s.connections <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		conn, err := s.tcp.Accept()
		if err != nil {
			<-s.connections
			s.falter(fmt.Errorf("accepting a connection: %w", err))
			continue
		}
		s.running.Go(func() {
			defer func() { <-s.connections }()
			s.converse(conn)
		})
	}
}

// converse answers one question after the other, until the guest has no more or
// takes too long.
func (s *Server) converse(conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(s.ctx, func() { conn.Close() })()
	for {
		conn.SetDeadline(time.Now().Add(s.bounds.idle))
		msg, err := readMessage(conn)
		if err != nil {
			return
		}
		answer := s.respond(msg)
		if answer == nil {
			return
		}
		conn.SetDeadline(time.Now().Add(s.bounds.idle))
		if err := writeMessage(conn, answer); err != nil {
			return
		}
	}
}

// respond answers a question that came by TCP, and waits for a place if it needs
// one. Nil means that there is no answer.
func (s *Server) respond(msg []byte) []byte {
	v := decide(s.options.Names, msg)
	if v.do != forward {
		return s.settle(v)
	}
	select {
	case s.questions <- struct{}{}:
		defer func() { <-s.questions }()
	case <-s.ctx.Done():
		return nil
	}
	return s.pass("tcp", v.question, msg)
}

// readMessage and writeMessage are how DNS goes over TCP: the length first.
func readMessage(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, msg)
	return msg, err
}

func writeMessage(w io.Writer, msg []byte) error {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg)))
	_, err := w.Write(append(framed, msg...))
	return err
}
