package main

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func completionScript(t *testing.T, shell string) string {
	t.Helper()
	var out, err bytes.Buffer
	require.Zero(t, run(context.Background(), []string{"completion", shell}, &out, &err), err.String())
	return out.String()
}

// complete has bash source the script, type a line, and ask for what may follow.
func complete(t *testing.T, line ...string) []string {
	t.Helper()
	const ask = `
words=("$@")
COMP_WORDS=("${words[@]}") COMP_CWORD=$((${#words[@]} - 1)) COMPREPLY=()
spec=$(complete -p "${words[0]}")
function=${spec#*-F }; function=${function%% *}
"$function" "${words[0]}" "${words[COMP_CWORD]}" "${words[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"`
	script := completionScript(t, "bash") + ask
	arguments := append([]string{"--norc", "-uc", script, "bash", config.PluginName}, line...)
	out, err := exec.CommandContext(t.Context(), "bash", arguments...).CombinedOutput()
	require.NoError(t, err, string(out))
	return strings.Fields(string(out))
}

func TestBashCompletesCommandsAndFlags(t *testing.T) {
	require.Subset(t, complete(t, ""), []string{"try", "doctor", "config", "completion", "--help"})
	require.NotContains(t, complete(t, ""), "guest", "it is hidden")
	require.Equal(t, []string{"doctor"}, complete(t, "doc"))
	require.Equal(t, []string{"check"}, complete(t, "config", "ch"))
	require.Subset(t, complete(t, "image", ""), []string{"build", "list", "show"})
	require.Equal(t, []string{"--state-dir"}, complete(t, "image", "--json", "build", "--st"))
	require.Equal(t, []string{"--config"}, complete(t, "doctor", "--fix", "--con"))
	require.Equal(t, []string{"zsh"}, complete(t, "completion", "z"))
	require.Empty(t, complete(t, "config", "check", "/etc/gitlab-runner/"), "bash completes files itself")
	require.Empty(t, complete(t, "try", "--", "doc"), "what follows is a job's")
}

// The other scripts have the same places, in the words of their shells.
func TestOtherShellsHaveTheSamePlaces(t *testing.T) {
	for shell, want := range map[string]string{
		"zsh":  `(" config") found=(check example`,
		"fish": `complete -c fleeting-plugin-mayfly -n '__fleeting_plugin_mayfly_at " config"' -a 'check example`,
	} {
		require.Contains(t, completionScript(t, shell), want)
	}
}
