//go:build linux

package nspawn

import (
	"errors"
	"fmt"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/nspawn/tree"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

const (
	networkUnit  = "etc/systemd/system/mayfly-network.service"
	networkWants = "etc/systemd/system/sysinit.target.wants/mayfly-network.service"
)

// networkService sets up the network of a booted container: the link comes
// into it bare.
func networkService() string {
	return fmt.Sprintf(`[Unit]
Description=Mayfly network: the link that the host has put into this container
DefaultDependencies=no
Before=mayfly-ssh.service shutdown.target
Conflicts=shutdown.target
ConditionVirtualization=container

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'ip link set lo up; ip address replace %[1]s dev %[2]s; ip link set %[2]s up; ip route replace default via %[3]s'
`, network.Guest, network.Peer, network.Gateway)
}

// installNetwork puts the service into a golden tree that nothing has run in.
func installNetwork(golden image.Golden) (err error) {
	w, err := tree.NewWriter(golden.Tree(), golden.Tree(), base(golden.Recipe.Form))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	return errors.Join(
		w.Write(tree.File{Name: networkUnit, Content: networkService(), Mode: 0o644}),
		w.Link("../mayfly-network.service", networkWants))
}
