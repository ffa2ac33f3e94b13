// Package architecture holds the tests that keep the rooms of this repository
// apart: who may import whom, who may name a backend, how packages are named
// and that each says what it is for; and those that hold its lists: of programs,
// of decisions, of places that read the kernel's. The table in rooms_test.go is the
// architecture; when a new edge is right, it is added there, with its reason.
package architecture
