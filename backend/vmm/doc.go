// Package vmm runs workers as virtual machines on Linux: images are built,
// clones booted, templates saved, forks restored and rekeyed, machines suspended
// and resumed, all in one way for every virtual machine monitor. What differs
// between monitors is a Driver's: a package beside this one, which imports this
// one and is never imported by it. kvm/ finds out whether KVM works, template/
// keeps templates on disk. Leases, records and readiness are the pool's.
package vmm
