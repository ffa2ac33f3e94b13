// Package plugin tests the built binary from outside, as GitLab Runner and
// people use it: as a plugin process behind fleeting's protocol, and on the
// command line. Its workers are synthetic, so it needs no privilege and no
// machine, but for containers in a short run of `make soak`; real machines are the
// business of other tests.
package plugin
