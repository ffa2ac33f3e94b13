// Package kvm finds out whether KVM really runs machines on this host, by
// booting a kernel with it. Which virtual machine monitor boots it, and what
// follows from the answer, is the backends' business.
package kvm
