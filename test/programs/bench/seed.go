//go:build linux

package main

import (
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/cloudinit"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/cloudinit/seed"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// volume tells cloud-init what the agent tells a clone. fleetingd has it
// upgrade packages besides; that is left out, since it depends on mirrors.
func volume(identity guest.Identity) seed.Volume {
	return seed.Volume{
		UserData: cloudinit.UserData{
			Users: []cloudinit.User{{
				Name: identity.User, Sudo: "ALL=(ALL) NOPASSWD:ALL", Shell: "/bin/bash", LockPasswd: true,
				SSHAuthorizedKeys: []string{identity.AuthorizedKey},
			}},
			SSHKeys: map[string]string{
				"ed25519_private": identity.HostKey,
				"ed25519_public":  identity.HostKeyPublic,
			},
		},
		MetaData: cloudinit.MetaData{InstanceID: identity.Hostname, LocalHostname: identity.Hostname},
		Network: &cloudinit.NetworkConfig{
			MAC: network.GuestMAC, Name: "eth0",
			Address: network.Guest, Gateway: network.Gateway, Nameserver: network.Gateway,
		},
	}
}
