//go:build linux

package qemu

import (
	"crypto/rand"
	"fmt"
	"runtime"
)

// hasGenerations says whether QEMU has VM generation IDs: for PCs only.
const hasGenerations = runtime.GOARCH == "amd64"

// newGeneration is a random UUID, which no other start of a machine has.
func newGeneration() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
