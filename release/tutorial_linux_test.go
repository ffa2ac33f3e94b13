package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/pages"
)

const tutorial = "docs/tutorial/first-job.md"

// slow are the commands of the tutorial that make machines, which take minutes where they
// are emulated: tests have synthetic workers in their place.
var slow = regexp.MustCompile(`(?m)^fleeting-plugin-mayfly (doctor|image build|try)`)

// followTutorial runs the commands of the tutorial in a root, word for word but for slow,
// from the files of a release to a root that has nothing of ours. The runner and the
// services of the host are played: they say that they were called.
func (r root) followTutorial(t *testing.T) {
	r.t = t
	m := makeIn(t, first(), "1.2.3")
	require.NoError(t, os.CopyFS(filepath.Join(r.dir, "root"), os.DirFS(m.dir)))
	key, err := os.ReadFile(m.key)
	require.NoError(t, err)
	r.write("/root/mayfly.pub", string(key), 0o644)
	require.NoError(t, os.MkdirAll(r.dir+"/etc/gitlab-runner", 0o700))
	for _, played := range []string{"gitlab-runner", "systemctl"} {
		r.write("/usr/local/bin/"+played, "#!/bin/sh\necho \"${0##*/} $*\" >>/root/played\n", 0o755)
	}

	var said strings.Builder
	ran := 0
	for _, block := range pages.Blocks(t, "sh", "toml") {
		switch {
		case block.File != tutorial:
		case block.Language == "toml":
			r.write("/etc/gitlab-runner/config.toml", block.Text, 0o600)
		default:
			ran++
			text := slow.ReplaceAllString(block.Text, "$0 --backend synthetic")
			said.WriteString(r.run("/bin/sh", "-exc", "cd /root; export PATH=/usr/local/bin:$PATH\n"+text))
		}
	}
	require.GreaterOrEqual(t, ran, 8)
	for _, want := range []string{"Verified OK", program + "-" + strings.ReplaceAll(here.String(), "/", "-") + ": OK",
		"2 of 2 jobs ran", "no orphans are left"} {
		require.Contains(t, said.String(), want)
	}
	played, err := os.ReadFile(r.dir + "/root/played")
	require.NoError(t, err)
	require.Contains(t, string(played), "gitlab-runner register --non-interactive")
	require.Contains(t, string(played), "systemctl restart gitlab-runner")
	require.NoError(t, os.RemoveAll(r.dir+"/root"))
	require.Equal(t, []string{"etc/gitlab-runner/mayfly-example.toml"}, r.ours(), "only what the user has written")
	require.NoError(t, os.Remove(r.dir+"/etc/gitlab-runner/mayfly-example.toml"))
}

func (r root) write(path, text string, mode os.FileMode) {
	r.t.Helper()
	require.NoError(r.t, os.WriteFile(r.dir+path, []byte(text), mode))
}
