package main

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
)

func TestSSHIsToldEverything(t *testing.T) {
	s := session{command: "sudo -i", terminal: true, clone: host.Clone{
		Dir: `/srv/a "b" 100%`, Address: netip.MustParseAddrPort("10.210.0.2:22"), User: "ci",
	}}
	require.Equal(t, []string{
		"-F", "none", "-p", "22", "-l", "ci",
		"-o", `IdentityFile="/srv/a \"b\" 100%%/shell-key"`,
		"-o", `UserKnownHostsFile="/srv/a \"b\" 100%%/shell-known-hosts"`,
		"-o", "HostKeyAlias=clone", "-o", "GlobalKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=yes",
		"-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
		"-t", "10.210.0.2", "sudo -i",
	}, s.arguments())

	s.command, s.terminal = "", false
	last := s.arguments()
	require.Equal(t, []string{"LogLevel=ERROR", "10.210.0.2"}, last[len(last)-2:])
}

func TestWhatRunsInAClone(t *testing.T) {
	for _, test := range []struct {
		user, want string
		shell      imageShellCommand
	}{
		{"ci", "", imageShellCommand{}},
		{"ci", "sudo -i", imageShellCommand{Root: true}},
		{"root", "", imageShellCommand{Root: true}},
		{"ci", "echo a b", imageShellCommand{Command: []string{"echo", "a b"}}},
		{"ci", `sudo -- sh -c 'echo '\''a'\'''`, imageShellCommand{Root: true, Command: []string{"echo 'a'"}}},
		{"root", "id", imageShellCommand{Root: true, Command: []string{"id"}}},
	} {
		require.Equal(t, test.want, test.shell.remoteCommand(test.user))
	}
	require.ErrorContains(t, imageShellCommand{Save: "a/b"}.Validate(), "--save")
	require.NoError(t, imageShellCommand{Save: "a-1.b"}.Validate())
}
