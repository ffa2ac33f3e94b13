// Package bhyve runs workers as virtual machines of bhyve on FreeBSD, by way of
// vm-bhyve: images are imported or cloned by it, prebuilt and given their
// identity over SSH, and workers are ZFS clones of a snapshot. What vm-bhyve is
// told, and where an address is found, is here; what is done inside a guest is
// in guest/remote.
package bhyve
