// Package plugin tests the built binary from outside, as GitLab Runner and
// people use it: as a plugin process behind fleeting's protocol, and on the
// command line. Its workers are synthetic, so it needs no privilege and no
// machine, but for short runs of `make soak`: as root these have a network and a
// disk of their own, which want ip, mkfs.ext4 and mount, and two of them have
// containers and machines. Real machines are the business of other tests.
package plugin
