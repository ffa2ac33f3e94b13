package island

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// setSysctl writes a setting below /proc/sys/net, of the calling thread's
// network namespace. Path elements are separate since an interface name may
// hold dots.
func setSysctl(value string, path ...string) error {
	file := filepath.Join(append([]string{"/proc/sys/net"}, path...)...)
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("setting %s to %s: %w", file, value, err)
	}
	defer f.Close()
	if _, err := f.WriteString(value); err != nil {
		return fmt.Errorf("setting %s to %s: %w", file, value, err)
	}
	return nil
}

// readSysctl reads a setting below /proc/sys/net.
func readSysctl(path ...string) (string, error) {
	file := filepath.Join(append([]string{"/proc/sys/net"}, path...)...)
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", file, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// isSet reads a setting of IPv4 that is on or off.
func isSet(path ...string) (bool, error) {
	text, err := readSysctl(append([]string{"ipv4"}, path...)...)
	return text == "1", err
}

// forward lets packets that come in by the link travel on: the setting of one
// link, never the host's global one, which is the administrator's.
func forward(link string) error {
	return setSysctl("1", "ipv4", "conf", link, "forwarding")
}

// routing turns a namespace of ours into a router, as a whole.
func routing() error { return setSysctl("1", "ipv4", "ip_forward") }

// disableIPv6 does so on one link, or on all and default. A kernel without
// IPv6 needs nothing.
func disableIPv6(link string) error {
	err := setSysctl("1", "ipv6", "conf", link, "disable_ipv6")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
