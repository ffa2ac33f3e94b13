// Package refuse has the kernel refuse system calls of this process, for tests of
// file systems that lack something, such as locks or hard links, and cannot be had.
package refuse
