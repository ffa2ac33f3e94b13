//go:build linux

package changes

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Rules is one transaction that changed nftables.
type Rules struct {
	// Tables are the tables, by name and of whatever family, of which more than
	// elements of sets was changed.
	Tables []string
	// By is who did it, such as "nft (pid 4711)", and Port the netlink port of the
	// socket that it was done with: no other one of the namespace has it meanwhile.
	By   string
	Port uint32
	// Missed says that the kernel had no room to tell all: anything may have
	// changed, and by whom is not known.
	Missed bool
}

// OfRules calls each for every transaction in the calling thread's network
// namespace, its own ones too.
func OfRules(each func(Rules)) (*Listener, error) {
	var tables []string
	heard := func(message netlink.Message) {
		if message.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES {
			return
		}
		switch message.Header.Type & 0xff {
		case unix.NFT_MSG_NEWGEN: // ends each transaction
			each(Rules{Tables: tables, By: author(message), Port: message.Header.PID})
			tables = nil
		case unix.NFT_MSG_NEWSETELEM, unix.NFT_MSG_DELSETELEM:
		default:
			if name, ok := tableOf(message); ok && !slices.Contains(tables, name) {
				tables = append(tables, name)
			}
		}
	}
	missed := func() {
		tables = nil
		each(Rules{Missed: true, By: somebody})
	}
	return listen(unix.NETLINK_NETFILTER, []uint32{unix.NFNLGRP_NFTABLES}, heard, missed)
}

// nfgenmsg is the length of the header of nftables' messages.
const nfgenmsg = 4

// tableOf returns the table that a message is about. All kinds of messages have its
// name in their first attribute.
func tableOf(message netlink.Message) (string, bool) {
	for _, a := range attributes(message, nfgenmsg) {
		if a.Type == unix.NFTA_TABLE_NAME {
			return text(a.Data), true
		}
	}
	return "", false
}

// somebody is whom the kernel does not name.
const somebody = "somebody"

// author is the thread that the kernel names, which has the pid of its process
// unless that has several.
func author(message netlink.Message) string {
	name, pid := somebody, uint32(0)
	for _, a := range attributes(message, nfgenmsg) {
		switch {
		case a.Type == unix.NFTA_GEN_PROC_NAME:
			name = text(a.Data)
		case a.Type == unix.NFTA_GEN_PROC_PID && len(a.Data) == 4:
			pid = binary.BigEndian.Uint32(a.Data)
		}
	}
	return fmt.Sprintf("%s (pid %d)", name, pid)
}

func text(data []byte) string { return strings.TrimRight(string(data), "\x00") }
