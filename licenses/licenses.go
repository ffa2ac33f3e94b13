// Package licenses holds our licence and the licences and notices of
// everything that is built into the program, in full.
package licenses

import _ "embed"

//go:generate go run ./generate

//go:embed texts.txt
var text string

// Text is all texts: ours first, then the Go standard library's, then those of
// every module with its path and version.
func Text() string { return text }
