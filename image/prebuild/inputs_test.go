package prebuild

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

const secretValue = "correct horse battery"

func TestFilesAndEnvironmentComeBeforeTheSteps(t *testing.T) {
	t.Setenv("OUR_TOKEN", secretValue)
	g := newGuest()
	recipe := image.Recipe{
		User: "root", Run: []string{"step"},
		Files:   []image.File{{Path: "/etc/motd", Content: "hello", Mode: 0o640, Owner: "www-data"}},
		Env:     map[string]string{"VERSION": "1", "ARCH": "amd64"},
		Secrets: []image.Secret{{Name: "TOKEN", Variable: "OUR_TOKEN"}},
	}
	require.NoError(t, Tree(t.Context(), g, work(t, recipe), func(string, string) {}))
	require.Equal(t, []string{
		"network", "put /etc/motd 640 www-data: hello", "set ARCH=amd64", "set VERSION=1",
		"set TOKEN=" + secretValue, "step",
	}, g.asked[:6])
}

// TestBuildThatGoesOnHasItsFilesAndNotItsEnvironment is one whose first step is behind it.
func TestBuildThatGoesOnHasItsFilesAndNotItsEnvironment(t *testing.T) {
	g := newGuest()
	w := work(t, image.Recipe{
		User: "root", Run: []string{"first step", "second step"}, Env: map[string]string{"VERSION": "1"},
		Files: []image.File{{Path: "/etc/motd", Content: "hello"}}, Proxy: "http://p:1",
	})
	w.Steps = w.Recipe.Parts()[:2]
	require.NoError(t, Tree(t.Context(), g, w, func(string, string) {}))
	asked := strings.Join(g.asked, "\n")
	require.Contains(t, asked, "set VERSION=1")
	require.Contains(t, asked, "set http_proxy=http://p:1")
	for _, done := range []string{"put /etc/motd", "/etc/environment", "first step"} {
		require.NotContains(t, asked, done)
	}
}

func TestFileThatChangesDuringTheBuildEndsIt(t *testing.T) {
	from := filepath.Join(t.TempDir(), "daemon.json")
	require.NoError(t, os.WriteFile(from, []byte("{}"), 0o600))
	recipe := image.Recipe{User: "root", Files: []image.File{{Path: "/etc/x", From: from,
		SHA256: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}}}
	g := newGuest()
	require.NoError(t, Tree(t.Context(), g, work(t, recipe), func(string, string) {}))
	require.Contains(t, g.asked, "put /etc/x 0 : {}")
	require.NoError(t, os.WriteFile(from, []byte("{ }"), 0o600))
	err := Tree(t.Context(), newGuest(), work(t, recipe), func(string, string) {})
	require.ErrorContains(t, err, `image.files."/etc/x": `+from+" has changed")
}

func TestSecretsAreHiddenInOutputAndErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(secretValue+"\n"), 0o600))
	g := newGuest()
	g.answers["leak"] = answer{"token: " + secretValue + "!\nbye", errors.New("refused")}
	var shown strings.Builder
	err := Tree(t.Context(), g, work(t, image.Recipe{
		User: "root", Run: []string{"leak"}, Secrets: []image.Secret{{Name: "TOKEN", File: file}},
	}), func(stage, line string) { shown.WriteString(stage + line + "\n") })
	require.ErrorContains(t, err, "token: [hidden]!")
	require.Contains(t, shown.String(), "token: [hidden]!\n")
	require.Contains(t, shown.String(), "bye\n")
	require.NotContains(t, err.Error()+shown.String(), secretValue)
}

func TestSecretsThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("SHORT", "1234567")
	long := filepath.Join(dir, "long")
	require.NoError(t, os.WriteFile(long, bytes.Repeat([]byte("x"), 40<<10), 0o600))
	zero := filepath.Join(dir, "zero")
	require.NoError(t, os.WriteFile(zero, []byte("12345678\x00"), 0o600))
	for want, secret := range map[string]image.Secret{
		"no variable UNSET":    {Variable: "UNSET"},
		"fewer than 8 bytes":   {Variable: "SHORT"},
		"no such file":         {File: filepath.Join(dir, "none")},
		"not a regular file":   {File: dir},
		"more than 32768 byte": {File: long},
		"has a NUL":            {File: zero},
	} {
		secret.Name = "TOKEN"
		g := newGuest()
		recipe := image.Recipe{User: "root", Secrets: []image.Secret{secret}}
		err := Tree(t.Context(), g, work(t, recipe), func(string, string) {})
		require.ErrorContains(t, err, "image.secrets.TOKEN: ")
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "1234567")
	}
}

// TestNoPieceOfOutputShowsASecret cuts the output anywhere.
func TestNoPieceOfOutputShowsASecret(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`[ab]{8,12}`).Draw(t, "secret")
		other := rapid.StringMatching(`[ab]{8,12}\n[ab]{8,9}`).Draw(t, "other")
		all := patterns(map[string]string{"A": secret, "B": other})
		pieces := rapid.SampledFrom([]string{secret, other, "a", "b", "\n", secret[:7]})
		text := strings.Join(rapid.SliceOf(pieces).Draw(t, "text"), "")
		var shown bytes.Buffer
		m := newMask(&shown, all)
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			_, err := io.WriteString(m, rest[:n])
			require.NoError(t, err)
			rest = rest[n:]
		}
		require.NoError(t, m.Flush())
		for _, pattern := range all {
			require.NotContains(t, shown.String(), pattern)
		}
		if strings.Trim(text, "\n") == "" {
			require.Equal(t, text, shown.String(), "all else is passed on")
		}
	})
}
