//go:build linux

package nspawn

import (
	"errors"
	"fmt"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/nspawn/tree"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// service is a systemd unit of our own in a container.
type service struct{ name, text string }

// networkService sets up the network of a booted container, whose link has no
// settings when it comes into the container.
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

// ipv6Service has the network service set up IPv6 as well. Nobody else is on the
// link, so it does without duplicate address detection.
func ipv6Service() tree.File {
	return tree.File{
		Name: "etc/systemd/system/mayfly-network.service.d/ipv6.conf", Mode: 0o644,
		Content: fmt.Sprintf(`[Service]
ExecStart=/bin/sh -ec 'ip address replace %[1]s dev %[2]s nodad; ip -6 route replace default via %[3]s dev %[2]s'
`, network.Guest6, network.Peer, network.Gateway6),
	}
}

const sshService = `[Unit]
Description=Mayfly SSH server
DefaultDependencies=no
After=mayfly-network.service systemd-tmpfiles-setup-dev.service
Before=shutdown.target
Conflicts=shutdown.target
ConditionVirtualization=container

[Service]
ExecStart=/usr/sbin/sshd -D -e -h /` + guest.HostKeyPath + ` -o UseDNS=no -o PasswordAuthentication=no -o MaxSessions=100 -o MaxStartups=100
RuntimeDirectory=sshd
RuntimeDirectoryMode=0755
KillMode=process
Restart=on-failure
RestartSec=100ms
`

// services are those of every golden tree.
func services() []service {
	return []service{{"mayfly-network.service", networkService()}, {"mayfly-ssh.service", sshService}}
}

// serviceTexts are what a base holds of services, for the keys of layers.
func serviceTexts() (texts string) {
	for _, s := range services() {
		texts += "\n" + s.name + "\n" + s.text
	}
	return texts
}

// installServices puts the services that a booted container starts first into a
// golden tree that nothing has run in. The container's identity is in its files
// before it boots, so no service waits for an agent.
func installServices(golden image.Golden) (err error) {
	w, err := tree.NewWriter(golden.Tree(), golden.Tree(), base(golden.Recipe.Form))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for _, s := range services() {
		const units = "etc/systemd/system/"
		err = errors.Join(err,
			w.Write(tree.File{Name: units + s.name, Content: s.text, Mode: 0o644}),
			w.Link("../"+s.name, units+"sysinit.target.wants/"+s.name))
	}
	return err
}
