// Package nspawn runs workers as containers of systemd-nspawn on Linux. Each has
// a root file system that shares what is not written with the golden image's, a
// disk of its own for what it writes, a control group, a network namespace and,
// where the host allows it, a user namespace. The kernel is the host's.
//
// The package owns the containers' processes and files; leases, records and
// readiness are the pool's. Root file systems are handled in tree/, control groups
// in backend/cgroup, by the names that backend/process gives them.
package nspawn
