// Package island is the network of Linux hosts: every lease is a network namespace
// with the same tap device and rules in each, and one veth link to the host. It
// makes, finds and removes these, has packets forwarded for them, runs what the
// kernel cannot do for a lease (the relay of DNS, the reader of denied packets),
// and says what of the host is in the way. Which addresses are taken is the
// address package's to know, what may pass is the firewall package's, and
// machines are never seen here.
package island
