package initrd

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
)

// checkStatic refuses a busybox that needs a dynamic linker: the kernel would
// panic without naming the cause.
func checkStatic(binary []byte) error {
	file, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		return fmt.Errorf("%s: %w", busybox, err)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return errors.New(busybox + " is not statically linked: install busybox-static in place of busybox")
		}
	}
	return nil
}
