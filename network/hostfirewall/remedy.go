//go:build linux

package hostfirewall

import (
	"fmt"
	"slices"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// remedy is commands that let packets of workers pass, and what keeps them
// beyond the next boot where the firewall does not do so itself.
type remedy struct {
	commands []string
	keep     string
}

// Remedy returns one line for a shell that lets workers' packets pass all the
// obstacles, each in the words of the firewall that it belongs to. links begins
// the names of the workers' links. What stands behind "#" is for people.
func Remedy(obstacles []Obstacle, links string) string {
	var commands, keep []string
	for _, obstacle := range obstacles {
		r := obstacle.remedy(links)
		for _, command := range r.commands {
			if !slices.Contains(commands, command) {
				commands = append(commands, command)
			}
		}
		if r.keep != "" && !slices.Contains(keep, r.keep) {
			keep = append(keep, r.keep)
		}
	}
	line := strings.Join(commands, " && ")
	if len(keep) > 0 {
		line += " # to keep it: " + strings.Join(keep, "; ")
	}
	return line
}

// remedy prefers firewalls that keep what they are told. A packet that ufw's
// rules accept in a chain of Docker's is accepted.
func (o Obstacle) remedy(links string) remedy {
	ofUFW := func(chain string) bool { return strings.HasPrefix(chain, "ufw-") || strings.HasPrefix(chain, "ufw6-") }
	switch {
	case o.Table == "firewalld":
		return firewalld(links)
	case slices.ContainsFunc(o.Chains, ofUFW):
		return o.ufw(links)
	case slices.Contains(o.Chains, "DOCKER-USER"):
		return o.iptables(links, "DOCKER-USER", "run this at each boot, after Docker has started")
	case o.Family != "inet" && strings.ToUpper(o.Chain) == o.Chain && slices.Contains(iptablesTables, o.Table):
		return o.iptables(links, o.Chain, "netfilter-persistent save")
	}
	return o.nft(links)
}

// firewalld adds the links to the trusted zone: its own table may be closed to
// changes by others. The permanent and the running configuration are changed,
// since a reload would lose what others have set in the running one. Trusted links
// do not endanger the host: our own rules drop what they send to it.
func firewalld(links string) remedy {
	add := fmt.Sprintf("--zone=trusted --add-interface=%s+", links)
	return remedy{commands: []string{"firewall-cmd --permanent " + add, "firewall-cmd " + add}}
}

// ufw lets answers pass by itself, and makes rules for both families.
func (o Obstacle) ufw(links string) remedy {
	if o.Hook == Input {
		return remedy{commands: []string{fmt.Sprintf("ufw allow in on %s+ to any port %d", links, network.DNSPort)}}
	}
	return remedy{commands: []string{fmt.Sprintf("ufw route allow in on %s+", links)}}
}

// iptablesTables are those in which iptables has a chain at our hooks.
var iptablesTables = []string{"filter", "mangle", "security"}

func (o Obstacle) iptables(links, chain, keep string) remedy {
	command := "iptables"
	if o.Family == "ip6" {
		command = "ip6tables"
	}
	if o.Table != "filter" {
		command += " -t " + o.Table
	}
	command += " -I " + chain
	matches := []string{
		fmt.Sprintf("-i %s+", links),
		fmt.Sprintf("-o %s+ -m conntrack --ctstate ESTABLISHED,RELATED", links),
	}
	if o.Hook == Input {
		matches = []string{
			fmt.Sprintf("-i %s+ -p udp --dport %d", links, network.DNSPort),
			fmt.Sprintf("-i %s+ -p tcp --dport %d", links, network.DNSPort),
		}
	}
	r := remedy{keep: keep}
	for _, match := range matches {
		r.commands = append(r.commands, fmt.Sprintf("%s %s -j ACCEPT", command, match))
	}
	return r
}

func (o Obstacle) nft(links string) remedy {
	matches := []string{
		fmt.Sprintf(`iifname "%s*"`, links),
		fmt.Sprintf(`oifname "%s*" ct state established,related`, links),
	}
	if o.Hook == Input {
		matches = []string{
			fmt.Sprintf(`iifname "%s*" udp dport %d`, links, network.DNSPort),
			fmt.Sprintf(`iifname "%s*" tcp dport %d`, links, network.DNSPort),
		}
	}
	var rules []string
	for _, match := range matches {
		rules = append(rules, fmt.Sprintf("insert rule %s %s %s %s accept", o.Family, o.Table, o.Chain, match))
	}
	return remedy{
		commands: []string{"nft '" + strings.Join(rules, "; ") + "'"},
		keep:     "put these rules into /etc/nftables.conf",
	}
}
