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

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

// lost is how often the kernel has sent the same again, without an answer, in a
// connection that is dead: that takes half a minute at least. The runner would notice
// after a quarter of an hour.
const lost = 7

// connected says whether a connection to the address is open, and alive, in this
// network namespace, where the runner is too. Where that cannot be found out there may
// be one.
func connected(addr netip.AddrPort) bool {
	isOpen, err := SSH{}.Connected()
	return err != nil || !addr.Addr().Is4() || isOpen(addr)
}

var _ pool.Doorkeeper = SSH{}

// Connected looks at the connections over IPv4 of this network namespace, where the
// runner is too.
func (SSH) Connected() (func(addr netip.AddrPort) bool, error) {
	table, err := os.Open("/proc/net/tcp")
	if err != nil {
		return nil, fmt.Errorf("looking at the connections of this host: %w", err)
	}
	defer table.Close()
	open := established(table)
	return func(addr netip.AddrPort) bool { return addr.Addr().Is4() && open[entry(addr)] }, nil
}

// entry is how a table of connections, see proc_pid_net(5), names an address: in numbers
// of base 16, and in this machine's order of bytes.
func entry(addr netip.AddrPort) string {
	address := addr.Addr().As4()
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(address[:]), addr.Port())
}

// established are the other ends, as entry has them, of the connections in a table that
// are open and alive. The third field is the other end; the fourth is the state, of which
// 01 is that of an open connection; the seventh is how often the same was sent again.
func established(table io.Reader) map[string]bool {
	open := make(map[string]bool)
	rows := bufio.NewScanner(table)
	for rows.Scan() {
		f := strings.Fields(rows.Text())
		if len(f) < 7 || f[3] != "01" {
			continue
		}
		if again, err := strconv.ParseUint(f[6], 16, 64); err != nil || again < lost {
			open[f[2]] = true
		}
	}
	return open
}
