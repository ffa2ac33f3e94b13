package island

import (
	"context"
	"fmt"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
)

// Check says what the host has and lacks for the pool's network. It changes
// nothing.
func (i *Island) Check(context.Context) []doctor.Finding {
	return []doctor.Finding{i.findSubnet(), i.findEgress(), i.findFirewall()}
}

func (i *Island) findSubnet() doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "network.subnet"}
	if err := i.checkSubnet(); err != nil {
		finding.Level, finding.Detail = doctor.Missing, err.Error()
		finding.Mend = "set plugin_config.network.subnet to one that nothing on this host uses"
		return finding
	}
	finding.Detail = fmt.Sprintf("%s is free", i.options.Subnet)
	return finding
}

// findEgress also looks at forwarding, which each lease switches on for its
// own links and for the way out.
func (i *Island) findEgress() doctor.Finding {
	finding := doctor.Finding{Level: doctor.OK, What: "network.egress"}
	out, err := i.egress()
	switch {
	case err != nil:
		finding.Level, finding.Detail = doctor.Missing, err.Error()
		finding.Mend = "set plugin_config.network.egress to an interface of this host, or leave it out"
		return finding
	case out.name == "":
		finding.Level, finding.Detail = doctor.Warning, "this host has no default route: workers reach nothing outside it"
		finding.Mend = "give the host a default route, or set plugin_config.network.egress"
		return finding
	case i.options.IPv6.On && out.name6 == "":
		finding.Level, finding.Detail = doctor.Warning, "this host has no default route for IPv6: workers reach nothing outside it by that"
		finding.Mend = "give the host IPv6, or set plugin_config.network.ipv6 to \"off\""
		return finding
	}
	state := "off, and switched on with the first worker"
	if on, err := isSet("conf", out.name, "forwarding"); err == nil && on {
		state = "on"
	}
	finding.Detail = fmt.Sprintf("workers leave by %s, with an MTU of %d; IP forwarding there is %s", out.name, out.mtu, state)
	return finding
}
