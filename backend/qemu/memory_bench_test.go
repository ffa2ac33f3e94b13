//go:build linux

package qemu

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
)

// BenchmarkPrivateMemory tells what a fork makes private while it is alone for a
// minute, or for MAYFLY_BENCH_IDLE: the guest's pages by what the guest's kernel uses
// them for, and what is QEMU's own. Use -benchtime 1x: more is no other answer.
func BenchmarkPrivateMemory(b *testing.B) {
	f := newForks(b, "memory")
	idle, err := time.ParseDuration(cmp.Or(os.Getenv("MAYFLY_BENCH_IDLE"), "60s"))
	require.NoError(b, err)
	for b.Loop() {
		w, err := f.start(b, 0)
		require.NoError(b, err)
		require.Equal(b, backend.Fork, w.How())
		pid := f.driver.of(w.ID()).process.PID
		for _, after := range []time.Duration{0, idle} {
			time.Sleep(after)
			// What the guest says of its pages makes some of them private, too: the host is asked first.
			private, guestPages := privateMemory(b, pid, f.shelf().Dir)
			flags, err := w.Run("sudo cat /proc/kpageflags")
			require.NoError(b, err)
			for use, n := range guestPages.by([]byte(flags)) {
				private["guest: "+use] += int64(n) * int64(os.Getpagesize())
			}
			for _, of := range slices.Sorted(maps.Keys(private)) {
				b.Logf("after %s, %-40s %6.1f MiB", after, of, float64(private[of])/(1<<20))
				name := strings.ReplaceAll(fmt.Sprintf("MiB-after-%s/%s", after, of), " ", "-")
				b.ReportMetric(float64(private[of])/(1<<20), name)
			}
		}
		f.remove(b, w.ID())
	}
}

// mapping is a line of a process's maps with its private bytes.
type mapping struct {
	from, to uint64
	name     string
	private  int64
}

// privateMemory is what a QEMU has of its own, in bytes, by what it is, and which
// pages of its guest's memory are among it: those of the mapping of a file below a
// directory, in the order of the guest's addresses.
func privateMemory(b *testing.B, pid int, templates string) (private map[string]int64, guest pages) {
	b.Helper()
	private = map[string]int64{}
	for _, m := range mappings(b, pid) {
		switch {
		case strings.HasPrefix(m.name, templates):
			guest = append(guest, privatePages(b, pid, m)...)
		case m.name == "[heap]":
			private["qemu: heap"] += m.private
		case m.name == "" && m.to-m.from >= 128<<20:
			private["qemu: large anonymous areas (translated code)"] += m.private
		case m.name == "":
			private["qemu: small anonymous areas (stacks, malloc, TLB)"] += m.private
		default:
			private["qemu: program and libraries"] += m.private
		}
	}
	require.NotEmpty(b, guest, "no memory of the template is mapped")
	return private, guest
}

// mappings reads smaps, see proc_pid_smaps(5).
func mappings(b *testing.B, pid int) (all []mapping) {
	b.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	require.NoError(b, err)
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		var m mapping
		if n, _ := fmt.Sscanf(fields[0], "%x-%x", &m.from, &m.to); n == 2 {
			if len(fields) > 5 {
				m.name = strings.Join(fields[5:], " ")
			}
			all = append(all, m)
		}
		if fields[0] == "Private_Dirty:" || fields[0] == "Private_Clean:" && !filepath.IsAbs(all[len(all)-1].name) {
			var kib int64
			_, err := fmt.Sscan(fields[1], &kib)
			require.NoError(b, err)
			all[len(all)-1].private += kib << 10
		}
	}
	require.NoError(b, lines.Err())
	return all
}

// pages says of each page of a guest whether it is private.
type pages []bool

// Bits of an entry of pagemap, see proc_pid_pagemap(5).
const (
	pagePresent = 1 << 63
	pageOfFile  = 1 << 61
)

func privatePages(b *testing.B, pid int, m mapping) pages {
	b.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", pid))
	require.NoError(b, err)
	defer file.Close()
	size := uint64(os.Getpagesize())
	entries := make([]byte, 8*(m.to-m.from)/size)
	_, err = file.ReadAt(entries, int64(8*m.from/size))
	if err != nil {
		require.ErrorIs(b, err, io.EOF)
	}
	found := make(pages, len(entries)/8)
	for n := range found {
		entry := binary.LittleEndian.Uint64(entries[8*n:])
		found[n] = entry&pagePresent != 0 && entry&pageOfFile == 0
	}
	return found
}

// uses are what a guest's kernel uses a page for, by the bits of its flags, the
// first that fits; see Documentation/admin-guide/mm/pagemap.rst.
var uses = []struct {
	name string
	bits uint64
}{
	{"free", 1 << 10},
	{"kernel, slab", 1 << 7},
	{"page tables", 1 << 26},
	{"anonymous", 1 << 12},
	{"tmpfs", 1 << 14},
	{"page cache", 1 << 5},
	{"kernel, image and page structures", 1 << 32},
	{"not memory", 1 << 20},
}

// by counts private pages by their use, from the guest's /proc/kpageflags. The
// guest's memory begins at its address 0 and has no hole.
func (p pages) by(flags []byte) map[string]int {
	count := map[string]int{}
	for n, private := range p {
		if !private || 8*n+8 > len(flags) {
			continue
		}
		entry := binary.LittleEndian.Uint64(flags[8*n:])
		use := "kernel, other (stacks, buffers, modules)"
		for _, u := range uses {
			if entry&u.bits != 0 {
				use = u.name
				break
			}
		}
		count[use]++
	}
	return count
}
