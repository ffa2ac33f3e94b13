// Package cloudhypervisor is the driver of backend/vmm for Cloud Hypervisor on
// Linux with KVM: virtio, direct kernel boot, an agent reached by vsock, forks by
// snapshot and restore. The client of its API is in api/.
//
// It makes the program's configurations and snapshots. What is done with
// machines, and in which order, is decided in backend/vmm.
package cloudhypervisor
