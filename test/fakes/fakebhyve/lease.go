//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

const keaHeader = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev," +
	"hostname,state,user_context,pool_id\n"

// lease gives a MAC its address, a loopback one, and writes it down as every
// DHCP server would. The test may want it late, stale or never.
func lease(mac, name string) (string, error) {
	file, err := os.OpenFile(world("leases.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	given, err := os.ReadFile(world("leases.given"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	where := ""
	for line := range strings.Lines(string(given)) {
		if fields := strings.Fields(line); fields[0] == mac {
			where = fields[1]
		}
	}
	if where == "" {
		n := strings.Count(string(given), "\n") + 1
		where = fmt.Sprintf("127.65.%d.%d", n/250, n%250+2)
		if err := appendTo("leases.given", "", mac+" "+where+"\n"); err != nil {
			return "", err
		}
	}
	if failing("address") {
		return where, nil
	}
	now, until := time.Now(), time.Now().Add(time.Hour)
	const form = "2006/01/02 15:04:05"
	kea := func(address string, expire time.Time, state int) string {
		return fmt.Sprintf("%s,%s,01:%s,3600,%d,1,0,0,%s,%d,,0\n", address, mac, mac, expire.Unix(), name, state)
	}
	lines := ""
	if failing("stale") { // what the MAC had before, and what it gave back
		lines = kea("127.99.0.1", now.Add(-time.Hour), 0) + kea("127.99.0.2", until, 2)
	}
	lines += kea(where, until, 0)
	return where, errors.Join(
		appendTo("kea-leases4.csv", keaHeader, lines),
		appendTo("dhcpd.leases", "", fmt.Sprintf("lease %s {\n  starts 4 %s;\n  ends 4 %s;\n"+
			"  binding state active;\n  hardware ethernet %s;\n}\n",
			where, now.UTC().Format(form), until.UTC().Format(form), mac)),
		appendTo("dnsmasq.leases", "", fmt.Sprintf("%d %s %s %s 01:%s\n", until.Unix(), mac, where, name, mac)),
		appendTo("arp", "", fmt.Sprintf("? (%s) at %s on vm-public expires in 1187 seconds [bridge]\n", where, mac)),
	)
}

func appendTo(name, header, text string) error {
	if !exists(world(name)) {
		text = header + text
	}
	file, err := os.OpenFile(world(name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}

func arp(args []string) error {
	if strings.Join(args, " ") != "-an" {
		return failure{"usage: arp [-n] [-i interface] hostname", 1}
	}
	text, err := os.ReadFile(world("arp"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fmt.Print(string(text))
	return nil
}
