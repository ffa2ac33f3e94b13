// Package agent is the end of the guest protocol inside a Linux guest: it
// finds its port, gives the guest its identity, runs the steps of a prebuild
// and seals the disk. The protocol itself, and the host's end, live in guest.
package agent
