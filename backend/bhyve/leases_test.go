package bhyve

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	ourMAC   = "58:9c:fc:0a:11:22"
	otherMAC = "58:9c:fc:0a:11:23"
	header   = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id," +
		"fqdn_fwd,fqdn_rev,hostname,state,user_context\n"
)

var now = time.Unix(1785600000, 0) // 2026-08-01 16:00:00 UTC

func TestLeases(t *testing.T) {
	kea := func(text string) (netip.Addr, bool) { return fromKea(text, hardware(ourMAC), now) }
	dhcpd := func(text string) (netip.Addr, bool) { return fromDHCPD(text, hardware(ourMAC), now) }
	dnsmasq := func(text string) (netip.Addr, bool) { return fromDnsmasq(text, hardware(ourMAC), now) }
	arp := func(text string) (netip.Addr, bool) { return fromARP(text, hardware(ourMAC)) }
	lease := func(address, mac, state, ends string) string {
		return "lease " + address + " {\n  starts 6 2026/08/01 15:00:00;\n  ends " + ends + ";\n  binding " +
			"state " + state + ";\n  next binding state free;\n  hardware ethernet " + mac +
			";\n  client-hostname \"a } b\";\n}\n"
	}
	tests := []struct {
		name string
		find func(string) (netip.Addr, bool)
		text string
		want string
	}{
		{"kea", kea,
			header + "10.0.0.17," + ourMAC + ",01:" + ourMAC + ",3600,1785600001,1,0,0,builder,0,\n", "10.0.0.17"},
		{"kea, newer columns", kea,
			"address,state,hwaddr,expire,pool_id\n10.0.0.17,0,58:9C:FC:0A:11:22,1785600001,0\n", "10.0.0.17"},
		{"kea, expired", kea, header + "10.0.0.17," + ourMAC + ",,3600,1785600000,1,0,0,,0,\n", ""},
		{"kea, reclaimed", kea, header + "10.0.0.17," + ourMAC + ",,3600,1785600001,1,0,0,,2,\n", ""},
		{"kea, another's", kea, header + "10.0.0.17," + otherMAC + ",,3600,1785600001,1,0,0,,0,\n", ""},
		{"kea, the last counts", kea, header + "10.0.0.17," + ourMAC + ",,3600,1785600001,1,0,0,,0,\n" +
			"10.0.0.18," + ourMAC + ",,3600,1785600001,1,0,0,,0,\n", "10.0.0.18"},
		{"kea, given to another", kea, header + "10.0.0.16," + ourMAC + ",,3600,1785600001,1,0,0,,0,\n" +
			"10.0.0.17," + ourMAC + ",,3600,1785600001,1,0,0,,0,\n" +
			"10.0.0.17," + otherMAC + ",,3600,1785600001,1,0,0,,0,\n", "10.0.0.16"},
		{"kea, header again after a clean-up", kea,
			header + "10.0.0.1," + otherMAC + ",,1,1785600001,1,0,0,,0,\n" + header +
				"10.0.0.17," + ourMAC + ",,3600,1785600001,1,0,0,,0,\n", "10.0.0.17"},
		{"kea, half a line", kea,
			header + "10.0.0.17," + ourMAC + ",,3600,1785600001,1,0,0,,0,\n10.0.0.18,58:9c", "10.0.0.17"},
		{"kea, nothing", kea, "", ""},

		{"dhcpd", dhcpd, lease("10.0.0.17", ourMAC, "active", "6 2026/08/01 16:00:01"), "10.0.0.17"},
		{"dhcpd, never ends", dhcpd, lease("10.0.0.17", ourMAC, "active", "never"), "10.0.0.17"},
		{"dhcpd, epoch", dhcpd, lease("10.0.0.17", ourMAC, "active", "epoch 1785600001"), "10.0.0.17"},
		{"dhcpd, expired", dhcpd, lease("10.0.0.17", ourMAC, "active", "6 2026/08/01 15:59:59"), ""},
		{"dhcpd, free", dhcpd, lease("10.0.0.17", ourMAC, "free", "never"), ""},
		{"dhcpd, freed later", dhcpd,
			lease("10.0.0.17", ourMAC, "active", "never") + lease("10.0.0.17", ourMAC, "free", "never"), ""},
		{"dhcpd, the last counts", dhcpd,
			lease("10.0.0.17", ourMAC, "active", "never") + lease("10.0.0.18", ourMAC, "active", "never"), "10.0.0.18"},

		{"dnsmasq", dnsmasq, "1785600001 " + ourMAC + " 10.0.0.17 builder 01:" + ourMAC + "\n", "10.0.0.17"},
		{"dnsmasq, infinite", dnsmasq, "0 " + ourMAC + " 10.0.0.17 * *\n", "10.0.0.17"},
		{"dnsmasq, expired", dnsmasq, "1785599999 " + ourMAC + " 10.0.0.17 * *\n", ""},
		{"dnsmasq, IPv6", dnsmasq, "duid 00:01\n1785600001 " + ourMAC + " fd00::1 * *\n", ""},

		{"arp", arp, "? (10.0.0.17) at " + ourMAC + " on vm-public expires in 1187 seconds [bridge]\n", "10.0.0.17"},
		{"arp, incomplete", arp, "? (10.0.0.17) at (incomplete) on vm-public expired [bridge]\n", ""},
		{"arp, another's", arp,
			"? (10.0.0.17) at " + otherMAC + " on vm-public expires in 1187 seconds [bridge]\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, found := test.find(test.text)
			require.Equal(t, test.want != "", found)
			if found {
				require.Equal(t, test.want, got.String())
			}
		})
	}
}

// FuzzLeases only wants no parser to fall over, and no answer but IPv4.
func FuzzLeases(f *testing.F) {
	f.Add(header + "10.0.0.17," + ourMAC + ",,3600,1785600001,1,0,0,,0,\n")
	f.Add("lease 10.0.0.17 {\n  ends never;\n  binding state active;\n  hardware ethernet " + ourMAC + ";\n}\n")
	f.Add("0 " + ourMAC + " 10.0.0.17 * *\n")
	f.Add("? (10.0.0.17) at " + ourMAC + " on vm-public expires in 1187 seconds [bridge]\n")
	f.Fuzz(func(t *testing.T, text string) {
		mac := hardware(ourMAC)
		for _, find := range []func() (netip.Addr, bool){
			func() (netip.Addr, bool) { return fromKea(text, mac, now) },
			func() (netip.Addr, bool) { return fromDHCPD(text, mac, now) },
			func() (netip.Addr, bool) { return fromDnsmasq(text, mac, now) },
			func() (netip.Addr, bool) { return fromARP(text, mac) },
		} {
			if address, found := find(); found && !address.Is4() {
				t.Fatalf("%s is not IPv4", address)
			}
		}
	})
}
