package nameserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// maxUDP is the longest message by UDP, in either direction. Nobody sends longer
// questions; a longer answer goes by TCP.
const maxUDP = 4096

// ask has the resolvers answer the question in msg, and returns the answer as
// the guest expects it: with its own id.
func (s *Server) ask(ctx context.Context, network string, q question, msg []byte) ([]byte, error) {
	var unable []byte
	var errs []error
	for _, resolver := range s.options.Resolvers() {
		answer, err := s.askOne(ctx, network, resolver, q, msg)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("asking %s by %s: %w", resolver, network, err))
		case failed(answer):
			unable = answer
		default:
			return answer, nil
		}
	}
	if unable != nil {
		return unable, nil // its code says more than ours would
	}
	if len(errs) == 0 {
		return nil, errors.New("there is no resolver to ask")
	}
	return nil, errors.Join(errs...)
}

func (s *Server) askOne(
	ctx context.Context, network string, resolver netip.AddrPort, q question, msg []byte,
) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.bounds.resolver)
	defer cancel()
	// A socket of its own for every question has a port of its own, which makes
	// answers harder to forge.
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, resolver.String())
	if err != nil {
		return nil, cause(err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	answer, err := exchange(conn, transports[network], q, msg)
	if err != nil {
		return nil, cause(err)
	}
	binary.BigEndian.PutUint16(answer, q.header.ID)
	return answer, nil
}

// exchange sends the message with an id that only we know, and waits for the
// answer. Others that come meanwhile are forged, or late.
func exchange(conn net.Conn, via transport, q question, msg []byte) ([]byte, error) {
	query := bytes.Clone(msg)
	rand.Read(query[:2]) // it never fails
	if err := via.write(conn, query); err != nil {
		return nil, err
	}
	for {
		answer, err := via.read(conn)
		if err != nil {
			return nil, err
		}
		if !q.belongs(binary.BigEndian.Uint16(query), answer) {
			continue
		}
		if len(answer) > via.longest {
			return q.truncated()
		}
		return answer, nil
	}
}

// transport is a way of sending messages over a connection.
type transport struct {
	read    func(net.Conn) ([]byte, error)
	write   func(net.Conn, []byte) error
	longest int
}

var transports = map[string]transport{
	"udp": {
		read: func(conn net.Conn) ([]byte, error) {
			buffer := make([]byte, maxUDP+1) // one byte too many shows what is too long
			n, err := conn.Read(buffer)
			return buffer[:n], err
		},
		write: func(conn net.Conn, msg []byte) error {
			_, err := conn.Write(msg)
			return err
		},
		longest: maxUDP,
	},
	"tcp": {
		read:    func(conn net.Conn) ([]byte, error) { return readMessage(conn) },
		write:   func(conn net.Conn, msg []byte) error { return writeMessage(conn, msg) },
		longest: 1<<16 - 1,
	},
}

// cause leaves out the ports of a socket's error, with which every one would be
// new to the log.
func cause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}
