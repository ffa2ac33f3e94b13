// Package tart runs workers as Tart's virtual machines on Apple silicon: macOS
// and Linux guests. Images are pulled or cloned by Tart, prebuilt and given
// their identity over SSH. What Tart is told, and what it answers, is here;
// what is done inside a guest is in guest/remote.
package tart
