package island

import (
	"context"
	"fmt"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
)

// Check says what the host has and lacks for the pool's network. It changes
// nothing.
func (i *Island) Check(context.Context) []backend.Finding {
	return []backend.Finding{i.findSubnet(), i.findEgress(), i.findFirewall()}
}

func (i *Island) findSubnet() backend.Finding {
	finding := backend.Finding{Level: backend.OK, What: "network.subnet"}
	if err := i.checkSubnet(); err != nil {
		finding.Level, finding.Detail = backend.Missing, err.Error()
		finding.Mend = "set plugin_config.network.subnet to one that nothing on this host uses"
		return finding
	}
	finding.Detail = fmt.Sprintf("%s is free", i.options.Subnet)
	return finding
}

// findEgress also looks at forwarding, which each lease switches on for its
// own links and for the way out.
func (i *Island) findEgress() backend.Finding {
	finding := backend.Finding{Level: backend.OK, What: "network.egress"}
	out, err := i.egress()
	switch {
	case err != nil:
		finding.Level, finding.Detail = backend.Missing, err.Error()
		finding.Mend = "set plugin_config.network.egress to an interface of this host, or leave it out"
		return finding
	case out.name == "":
		finding.Level, finding.Detail = backend.Warning, "this host has no default route: workers reach nothing outside it"
		finding.Mend = "give the host a default route, or set plugin_config.network.egress"
		return finding
	}
	state := "off, and switched on with the first worker"
	if on, err := isSet("conf", out.name, "forwarding"); err == nil && on {
		state = "on"
	}
	finding.Detail = fmt.Sprintf("workers leave by %s, with an MTU of %d; IP forwarding there is %s", out.name, out.mtu, state)
	return finding
}

// findFirewall looks for rules of others that would drop what workers send.
func (i *Island) findFirewall() backend.Finding {
	finding := backend.Finding{Level: backend.OK, What: "host firewall"}
	chains, err := firewall.Dropping()
	switch {
	case err != nil:
		finding.Level, finding.Detail = backend.Missing, err.Error()
		finding.Mend = "run as root, on a kernel with nftables: modprobe nf_tables"
	case len(chains) == 0:
		finding.Detail = "nothing else drops what passes through this host"
	default:
		finding.Level = backend.Warning
		finding.Detail = fmt.Sprintf("drops what it does not know: chain %s", strings.Join(chains, ", chain "))
		finding.Mend = i.acceptingRules(chains)
	}
	return finding
}

// acceptingRules is one command for a shell.
func (i *Island) acceptingRules(chains []string) string {
	links := firewall.LinkPrefix + i.scope + "*"
	var rules []string
	for _, chain := range chains {
		rules = append(rules,
			fmt.Sprintf(`insert rule %s iifname "%s" accept`, chain, links),
			fmt.Sprintf(`insert rule %s oifname "%s" ct state established,related accept`, chain, links))
	}
	return "nft '" + strings.Join(rules, "; ") + "'"
}
