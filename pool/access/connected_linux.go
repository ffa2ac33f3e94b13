package access

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
)

// connected says whether a connection to the address is open in this network
// namespace, where the runner is too. Where that cannot be found out there may be one.
func connected(addr netip.AddrPort) bool {
	table, err := os.Open("/proc/net/tcp")
	if err != nil || !addr.Addr().Is4() {
		return true
	}
	defer table.Close()
	return established(table, addr)
}

// established looks through a table of connections, see proc_net(5): the second
// field is the other end, the address in this machine's order of bytes, and the
// state 01 is that of an open connection.
func established(table io.Reader, to netip.AddrPort) bool {
	address := to.Addr().As4()
	end := fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(address[:]), to.Port())
	rows := bufio.NewScanner(table)
	for rows.Scan() {
		if f := strings.Fields(rows.Text()); len(f) > 3 && f[2] == end && f[3] == "01" {
			return true
		}
	}
	return false
}
