// Package debootstrap makes root file systems from the packages of the host's
// own distribution, Debian or Ubuntu, with the program mmdebstrap. What the
// host has told its own apt is read in apt/. What becomes of a root file system
// is decided elsewhere.
package debootstrap
