// Package cgroup gives each machine a control group of its own, in every
// hierarchy that the host has: the unified one, those of version 1, or both
// side by side. It limits, finds and ends what is in a group. What runs there,
// and under which name, is its user's business.
package cgroup
