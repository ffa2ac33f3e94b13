//go:build linux

package nspawn

import (
	"fmt"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/nspawn/tree"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// warmScript is where a container has what it runs before it is ready.
const warmScript = "usr/local/lib/mayfly/warm"

// warmService runs the script after all else that is started at boot. A container in
// which it fails ends, and its console says why.
const warmService = `[Unit]
Description=Mayfly warm steps: what is to run in this container before anybody may use it
After=multi-user.target
ConditionVirtualization=container
FailureAction=poweroff-force

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /` + warmScript + `
Environment=HOME=/root USER=root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
StandardOutput=journal+console
StandardError=inherit
`

// sshAfterWarm has nobody be let in before the script has ended.
const sshAfterWarm = `[Unit]
Requires=mayfly-warm.service
After=mayfly-warm.service
`

// warmFiles are those of a container that runs commands before it is ready: it has no
// memory that others could have made warm. There are none where there are no commands.
func warmFiles(warm []image.Commands) []tree.File {
	script := scriptOf(warm)
	if script == "" {
		return nil
	}
	const units = "etc/systemd/system/"
	return []tree.File{
		{Name: warmScript, Content: script, Mode: 0o755},
		{Name: units + "mayfly-warm.service", Content: warmService, Mode: 0o644},
		{Name: units + "mayfly-ssh.service.d/warm.conf", Content: sshAfterWarm, Mode: 0o644},
	}
}

// scriptOf is a shell script that runs the commands in order, up to the first that
// fails, of which it says which it was.
func scriptOf(warm []image.Commands) string {
	var script strings.Builder
	for _, some := range warm {
		for i, command := range some.Shell {
			quoted := "'" + strings.ReplaceAll(command, "'", `'\''`) + "'"
			fmt.Fprintf(&script, "cd / && sh -c %s </dev/null || "+
				"{ code=$?; echo \"warm step %s[%d]: exit code $code\"; exit $code; }\n", quoted, some.Setting, i)
		}
	}
	return script.String()
}
