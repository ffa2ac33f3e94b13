// Package nspawn runs workers as containers of systemd-nspawn on Linux: a root
// file system that shares what is not written with the golden image's, a
// control group, a network namespace and, where the host lets it, a user
// namespace of its own, and the host's kernel.
// It owns the containers' processes, control groups and files; leases, records
// and readiness are the pool's. Handling of root file systems is in tree/, of
// control groups in cgroup/.
package nspawn
