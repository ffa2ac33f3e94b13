// Package sandbox runs the tests of a package in network and mount namespaces
// of their own, so that real leases and real machines never change the network
// of the machine that the tests run on. Only tests, and programs that test,
// import it.
package sandbox
