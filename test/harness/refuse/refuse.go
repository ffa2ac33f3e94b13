//go:build linux

package refuse

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// architectures are those whose numbers of system calls the filter may compare.
var architectures = map[string]uint32{
	"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64,
}

// Calls has each of the system calls fail with an error number, in every thread of
// this process and in all that it starts, until they end. There is no way back:
// only a process that was started for it calls this.
func Calls(with unix.Errno, numbers ...uint32) error {
	architecture, known := architectures[runtime.GOARCH]
	if !known {
		return fmt.Errorf("refusing system calls on %s is not known", runtime.GOARCH)
	}
	program := filter(architecture, with, numbers)
	code := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up new privileges: %w", err)
	}
	_, _, failed := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&code)))
	if failed != 0 {
		return fmt.Errorf("installing a filter of system calls: %w", failed)
	}
	return nil
}

// Offsets in what seccomp(2) shows to a filter.
const (
	offsetNumber       = 0
	offsetArchitecture = 4
)

// filter allows everything of another architecture.
func filter(architecture uint32, with unix.Errno, numbers []uint32) []unix.SockFilter {
	const load, equal, end = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K,
		unix.BPF_RET | unix.BPF_K
	program := []unix.SockFilter{
		{Code: load, K: offsetArchitecture},
		{Code: equal, Jt: 1, K: architecture},
		{Code: end, K: unix.SECCOMP_RET_ALLOW},
		{Code: load, K: offsetNumber},
	}
	for _, number := range numbers {
		program = append(program,
			unix.SockFilter{Code: equal, Jf: 1, K: number},
			unix.SockFilter{Code: end, K: unix.SECCOMP_RET_ERRNO | uint32(with)})
	}
	return append(program, unix.SockFilter{Code: end, K: unix.SECCOMP_RET_ALLOW})
}
