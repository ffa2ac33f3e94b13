// Package nameserver answers the questions of one worker where the kernel
// cannot simply redirect them to a resolver: when the owner lists the names
// that may be looked up, when there are several resolvers, and when the one is
// a stub on a loopback address of the host, or speaks IPv6. It takes questions
// from sockets that somebody else opened, refuses what is not on the list, and
// passes the rest on as it is, but for its id. It caches nothing and resolves
// nothing itself, and what becomes of the addresses that it saw in answers is its
// caller's to know.
//
// Every byte read here is foreign: questions are from a guest, answers from any
// server. What these mean is decided by functions without effects
// (decide, learnt, belongs); sockets are in server.go, stream.go and
// upstream.go.
package nameserver
