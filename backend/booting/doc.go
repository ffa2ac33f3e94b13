// Package booting makes golden images for backends that boot virtual machines,
// and says how such an image is booted: the files, the kernel's command line,
// what the host must have. Starting the machine is the backends' business, what
// happens in the guest is image/prebuild's.
package booting
