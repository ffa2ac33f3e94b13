package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Handler does what a request asks for. It may answer as soon as that is done, and go on
// until ctx ends, which it does with the asker. When it returns without an answer, its error
// is the answer, or that all went well.
type Handler func(ctx context.Context, request Request, answer func(Answer)) error

// Server serves a pool's socket.
type Server struct {
	handle   Handler
	listener net.Listener
	ctx      context.Context
	end      context.CancelFunc
	serving  sync.WaitGroup
}

// Serve opens the socket of the pool whose directory is dir, in place of that of a process
// that was killed. The caller holds the pool's lock.
func Serve(dir string, handle Handler) (*Server, error) {
	path := filepath.Join(dir, SocketFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening the pool's socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("opening the pool's socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil { // its directory keeps others out by then
		return nil, errors.Join(fmt.Errorf("opening the pool's socket: %w", err), listener.Close())
	}
	s := &Server{handle: handle, listener: listener}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.serving.Go(s.accept)
	return s, nil
}

// Close removes the socket, and returns when everything has ended that was asked for.
func (s *Server) Close() {
	s.end()
	_ = s.listener.Close()
	s.serving.Wait()
}

func (s *Server) accept() {
	for s.ctx.Err() == nil {
		conn, err := s.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as too many open files
			select {
			case <-s.ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		s.serving.Go(func() { s.serve(conn) })
	}
}

// serve serves one asker.
func (s *Server) serve(conn net.Conn) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	defer conn.Close() // which tells an asker that all has ended
	request, err := s.hear(conn)
	if err != nil {
		_ = json.NewEncoder(conn).Encode(Answer{Error: "the plugin does not understand this: " + err.Error()})
		return
	}
	go func() { // an asker says no more: what ends a read is its end
		_, _ = io.Copy(io.Discard, conn)
		cancel()
	}()
	answered := false
	answer := func(a Answer) {
		answered = true
		_ = json.NewEncoder(conn).Encode(a) // one that has gone is told nothing
	}
	err = s.handle(ctx, request, answer)
	switch {
	case answered:
	case err != nil:
		answer(Answer{Error: err.Error()})
	default:
		answer(Answer{})
	}
}

// hear reads the request of an asker, who has not for ever.
func (s *Server) hear(conn net.Conn) (request Request, err error) {
	defer context.AfterFunc(s.ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(sayLimit)); err != nil {
		return request, err
	}
	decoder := json.NewDecoder(io.LimitReader(conn, mostBytes))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil {
		return request, err
	}
	return request, conn.SetDeadline(time.Time{})
}
