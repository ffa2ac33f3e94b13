// Package machines tests the built binary with real machines: QEMU, once by way of
// the fake of Cloud Hypervisor, behind fleeting's protocol and behind the command
// line, as GitLab Runner and people use it, from the golden image to a host on
// which nothing is left. It runs in a sandbox, with one state directory and one
// golden image for all tests; how the program behaves whatever its backend is in
// test/e2e/plugin.
package machines
