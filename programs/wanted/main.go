// Command wanted prints the packages that this host lacks, one a line, for
// scripts/install-packages.
//
//	wanted run         what workers on QEMU need
//	wanted run test    and what the tests need
//	wanted mmdebstrap  what one program is in
package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

func main() {
	packages, err := missing(os.Args[1:], runtime.GOARCH, programs.Program.There)
	if err != nil {
		fmt.Fprintln(os.Stderr, "wanted:", err)
		os.Exit(2)
	}
	for _, name := range packages {
		fmt.Println(name)
	}
}

// missing returns the packages of all programs that the arguments, uses and
// names, ask for on such a processor, unless they are there.
func missing(arguments []string, arch string, there func(programs.Program) bool) (packages []string, err error) {
	for _, argument := range arguments {
		asked := false
		for _, p := range programs.Table {
			if p.Package == "" || argument != string(p.Use) && argument != p.Name || argument == "" {
				continue
			}
			asked = true
			if (p.Arch == "" || p.Arch == arch) && !slices.Contains(packages, p.Package) && !there(p) {
				packages = append(packages, p.Package)
			}
		}
		if !asked {
			return nil, fmt.Errorf("%q is neither a use (%s, %s) nor a program that is in a package",
				argument, programs.Run, programs.Test)
		}
	}
	return packages, nil
}
