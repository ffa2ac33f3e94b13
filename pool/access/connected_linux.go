package access

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// lost is how often the kernel has sent the same again, without an answer, in a
// connection that is dead: that takes half a minute at least. The runner would notice
// after a quarter of an hour.
const lost = 7

// connected says whether a connection to the address is open, and alive, in this
// network namespace, where the runner is too. Where that cannot be found out there may
// be one.
func connected(addr netip.AddrPort) bool {
	table, err := os.Open("/proc/net/tcp")
	if err != nil || !addr.Addr().Is4() {
		return true
	}
	defer table.Close()
	return established(table, addr)
}

// established looks through a table of connections, see proc_pid_net(5), whose
// fields are numbers of base 16. The third is the other end, its address in this
// machine's order of bytes; the fourth is the state, of which 01 is that of an open
// connection; the seventh is how often the same was sent again.
func established(table io.Reader, to netip.AddrPort) bool {
	address := to.Addr().As4()
	end := fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(address[:]), to.Port())
	rows := bufio.NewScanner(table)
	for rows.Scan() {
		f := strings.Fields(rows.Text())
		if len(f) < 7 || f[2] != end || f[3] != "01" {
			continue
		}
		if again, err := strconv.ParseUint(f[6], 16, 64); err != nil || again < lost {
			return true
		}
	}
	return false
}
