//go:build linux

package sandbox

import (
	"fmt"
	"os/exec"
)

// A namespace plays the internet: who is there, and the addresses that this namespace
// has on the link to it.
const (
	InternetNamespace   = "/run/netns/internet"
	Internet, Internet6 = "203.0.113.1", "2001:db8::1"
	Uplink, Uplink6     = "203.0.113.2", "2001:db8::2"
)

// MakeInternet makes the way there the default one. What it returns takes all of that
// away.
func MakeInternet() (remove func() error, err error) {
	err = shell(`
		ip netns add internet
		ip link add wan0 type veth peer name up0 netns internet
		ip address add ` + Uplink + `/24 dev wan0
		ip link set wan0 up
		ip -n internet address add ` + Internet + `/24 dev up0
		ip -n internet link set up0 up
		ip -n internet link set lo up
		ip route add default via ` + Internet + `
		ip address add ` + Uplink6 + `/64 dev wan0 nodad
		ip -n internet address add ` + Internet6 + `/64 dev up0 nodad
		ip -6 route add default via ` + Internet6)
	return func() error { return shell("ip link delete wan0; ip netns delete internet") }, err
}

func shell(script string) error {
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
