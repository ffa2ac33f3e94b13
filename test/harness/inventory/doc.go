// Package inventory lists what Mayfly has on a host, asking the kernel and the
// file system and nothing of Mayfly's, and says what of it belongs to nobody and
// what somebody lacks. Who there is, its caller knows. Only tests, and programs
// that test, import it.
//
// A new kind of thing is a line in the table of sights, or of places when it is a
// file below the state directory.
package inventory
