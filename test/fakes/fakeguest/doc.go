// Package fakeguest plays the guests of virtual machines that cannot run here:
// a root directory stands for the disk, and a real SSH server, on port 22 of a
// loopback address, for the booted system. What is run there is run by this
// machine's shell in that root, in namespaces of its own; the commands that
// make a macOS or a FreeBSD what it is are stubs, as strict as the real ones.
// Which machines there are is the business of the fakes that import this.
package fakeguest
