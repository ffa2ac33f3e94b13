// Package qemu is the driver of backend/vmm for QEMU on Linux: q35 (virt on
// arm64), virtio, direct kernel boot, with KVM where it is proved to work and by
// emulation elsewhere.
//
// It makes QEMU's command line and speaks QMP, whose client is in qmp/. What is
// done with machines, and in which order, is decided in backend/vmm.
package qemu
