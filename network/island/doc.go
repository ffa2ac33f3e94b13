// Package island is the network of Linux hosts: every lease is a network
// namespace, alone in the sea, with the same tap device and rules in each and
// one veth link to the host. It makes, finds and removes these. Which
// addresses are taken is the address package's to know, what may pass is the
// firewall package's, and machines are never seen here.
package island
