//go:build linux

// Command cloud-hypervisor is the fake of the program of that name; see the
// package above.
package main

import (
	"os"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/fakecloudhypervisor"
)

func main() { os.Exit(fakecloudhypervisor.Main(os.Args[1:])) }
