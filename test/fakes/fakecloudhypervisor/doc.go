// Package fakecloudhypervisor is a fake of Cloud Hypervisor, which needs KVM: a
// program that takes the same command line and the same API calls, and is
// stricter about both; see Build. Behind it QEMU runs the machine by emulation,
// so that what talks to it ends in a guest that answers.
//
// It proves that requests are well formed, come in an order that is allowed,
// name files that are there and may be used, and are served by a program that runs
// without any privilege; that events and ends are
// understood; that a fork is what its snapshot's configuration says. It does
// not prove that Cloud Hypervisor boots the kernel, confines itself, or maps a
// template's memory as its source says.
package fakecloudhypervisor
