package island

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// forward6 lets IPv6 packets that come in by the link travel on. Since Linux
// 6.17 a link can be told alone; before, the host as a whole becomes a router.
func forward6(link string) error {
	err := setSysctl("1", "ipv6", "conf", link, "force_forwarding")
	if errors.Is(err, fs.ErrNotExist) {
		return routing6()
	}
	return err
}

// routing6 turns a network namespace into a router. It would no longer believe
// the advertisements that it has its own routes from, so that its links are told
// to go on; a link that never did stays as it is.
func routing6() error {
	on, err := readSysctl("ipv6", "conf", "all", "forwarding")
	if err != nil || on == "1" {
		return err
	}
	links, err := os.ReadDir("/proc/sys/net/ipv6/conf")
	if err != nil {
		return fmt.Errorf("listing the links with IPv6: %w", err)
	}
	for _, link := range links {
		if err := goOnAccepting(link.Name()); err != nil {
			return err
		}
	}
	return setSysctl("1", "ipv6", "conf", "all", "forwarding")
}

// Values of accept_ra, from the kernel's ip-sysctl.
const (
	acceptUnlessRouter = "1"
	acceptAlways       = "2"
)

func goOnAccepting(link string) error {
	accept, err := readSysctl("ipv6", "conf", link, "accept_ra")
	switch {
	case errors.Is(err, fs.ErrNotExist): // the link has gone
		return nil
	case err != nil || accept != acceptUnlessRouter:
		return err
	}
	return setSysctl(acceptAlways, "ipv6", "conf", link, "accept_ra")
}
