//go:build linux

package hostfirewall

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRemedyIsInTheWordsOfTheFirewall(t *testing.T) {
	docker := []string{"FORWARD", "DOCKER-USER"}
	for name, c := range map[string]struct {
		obstacles []Obstacle
		want      string
	}{
		"iptables": {
			[]Obstacle{{Family: "ip", Table: "filter", Chain: "FORWARD", Hook: Forward}},
			"iptables -I FORWARD -i mf+ -j ACCEPT && " +
				"iptables -I FORWARD -o mf+ -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT # to keep it: netfilter-persistent save",
		},
		"ip6tables, in another table": {
			[]Obstacle{{Family: "ip6", Table: "mangle", Chain: "FORWARD", Hook: Forward}},
			"ip6tables -t mangle -I FORWARD -i mf+ -j ACCEPT && " +
				"ip6tables -t mangle -I FORWARD -o mf+ -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT # to keep it: netfilter-persistent save",
		},
		"Docker, for both families": {
			[]Obstacle{
				{Family: "ip", Table: "filter", Chain: "FORWARD", Hook: Forward, Chains: docker},
				{Family: "ip6", Table: "filter", Chain: "FORWARD", Hook: Forward, Chains: docker},
			},
			"iptables -I DOCKER-USER -i mf+ -j ACCEPT && " +
				"iptables -I DOCKER-USER -o mf+ -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT && " +
				"ip6tables -I DOCKER-USER -i mf+ -j ACCEPT && " +
				"ip6tables -I DOCKER-USER -o mf+ -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT # to keep it: run this at each boot, after Docker has started",
		},
		"ufw, for both families and with Docker": {
			[]Obstacle{
				{Family: "ip", Table: "filter", Chain: "FORWARD", Hook: Forward, Chains: append(docker, "ufw-before-forward")},
				{Family: "ip6", Table: "filter", Chain: "FORWARD", Hook: Forward, Chains: append(docker, "ufw6-before-forward")},
			},
			"ufw route allow in on mf+",
		},
		"ufw before the host": {
			[]Obstacle{{Family: "ip", Table: "filter", Chain: "INPUT", Hook: Input, Chains: []string{"INPUT", "ufw-before-input"}}},
			"ufw allow in on mf+ to any port 53",
		},
		"firewalld at both hooks": {
			[]Obstacle{
				{Family: "inet", Table: "firewalld", Chain: "filter_FORWARD", Hook: Forward},
				{Family: "inet", Table: "firewalld", Chain: "filter_INPUT", Hook: Input},
			},
			"firewall-cmd --permanent --zone=trusted --add-interface=mf+ && firewall-cmd --zone=trusted --add-interface=mf+",
		},
		"a table with a name of iptables', but not its chains": {
			[]Obstacle{{Family: "ip", Table: "filter", Chain: "input", Hook: Input}},
			`nft 'insert rule ip filter input iifname "mf*" udp dport 53 accept; ` +
				`insert rule ip filter input iifname "mf*" tcp dport 53 accept' # to keep it: put these rules into /etc/nftables.conf`,
		},
		"a table for both families, which iptables has none of": {
			[]Obstacle{{Family: "inet", Table: "filter", Chain: "FORWARD", Hook: Forward}},
			`nft 'insert rule inet filter FORWARD iifname "mf*" accept; ` +
				`insert rule inet filter FORWARD oifname "mf*" ct state established,related accept' # to keep it: put these rules into /etc/nftables.conf`,
		},
		"two firewalls": {
			[]Obstacle{
				{Family: "inet", Table: "firewalld", Chain: "filter_FORWARD", Hook: Forward},
				{Family: "ip", Table: "filter", Chain: "FORWARD", Hook: Forward, Chains: docker},
				{Family: "ip", Table: "filter", Chain: "INPUT", Hook: Input},
			},
			"firewall-cmd --permanent --zone=trusted --add-interface=mf+ && firewall-cmd --zone=trusted --add-interface=mf+ && " +
				"iptables -I DOCKER-USER -i mf+ -j ACCEPT && " +
				"iptables -I DOCKER-USER -o mf+ -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT && " +
				"iptables -I INPUT -i mf+ -p udp --dport 53 -j ACCEPT && iptables -I INPUT -i mf+ -p tcp --dport 53 -j ACCEPT " +
				"# to keep it: run this at each boot, after Docker has started; netfilter-persistent save",
		},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, Remedy(c.obstacles, "mf")) })
	}
}
