// Package qemu runs workers as QEMU machines on Linux: q35 (virt on arm64),
// virtio, direct kernel boot, with KVM where it is proved to work and by
// emulation elsewhere.
// It owns the machines' processes and their disks' formats; leases, records
// and readiness are the pool's.
package qemu
