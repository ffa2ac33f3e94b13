//go:build !linux

package source

import "os/exec"

// runAlone has nothing to keep apart with where namespaces are unknown; there
// is no mmdebstrap there either.
func runAlone(cmd *exec.Cmd) error { return cmd.Run() }
