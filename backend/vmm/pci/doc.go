// Package pci looks at the host's PCI devices that are to be given to virtual
// machines, with VFIO. It changes nothing: which driver a device has is for people
// to say.
package pci
