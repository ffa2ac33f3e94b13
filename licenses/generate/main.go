// Command generate writes texts.txt: our licence and notice, and those of
// every module that the program is built from on any system.
//
//	go generate ./licenses
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := generate("texts.txt"); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func generate(path string) error {
	modules, err := list()
	if err != nil {
		return err
	}
	text, err := render(modules)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
