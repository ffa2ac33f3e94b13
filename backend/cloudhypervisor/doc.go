// Package cloudhypervisor runs workers as Cloud Hypervisor machines on Linux
// with KVM: virtio, direct kernel boot, an agent reached by vsock, forks by
// snapshot and restore. Its API is in api/.
// It owns the machines' processes and their disks' formats; leases, records
// and readiness are the pool's.
package cloudhypervisor
