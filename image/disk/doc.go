// Package disk makes the files that hold disks: copy-on-write clones, empty
// and sparse files, file systems made from a directory, raw files made from
// images of other formats. It knows neither machines nor golden images: what is
// on a disk, and who owns the file, is decided elsewhere.
package disk
