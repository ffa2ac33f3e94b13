package lint

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

var update = flag.Bool("update", false, "write what is found into testdata and the guide")

// host is what workers share in tests, unless a file says otherwise.
const host = 64 << 30

func sharing(bytes int64) SharedMemory { return func(config.Config) int64 { return bytes } }

// check writes a file into a directory and returns what is found in it, a line each.
func check(t *testing.T, dir, text string, shared int64) []string {
	t.Helper()
	file := filepath.Join(dir, "config.toml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	findings, err := Check(file, sharing(shared))
	if err != nil {
		return []string{strings.ReplaceAll(err.Error(), dir+"/", "")}
	}
	lines := []string{}
	for _, f := range findings {
		lines = append(lines, strings.ReplaceAll(f.String(), dir+"/", ""))
	}
	return lines
}

// Each file of testdata is a config.toml with what is to be found in it.
func TestWrongAndHurtfulFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 30)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			require.NoError(t, err)
			require.Len(t, archive.Files, 2)
			text, want := archive.Files[0], &archive.Files[1]
			require.Equal(t, "config.toml", text.Name)
			require.Equal(t, "found", want.Name)
			shared := int64(host)
			if gib := 0; strings.HasPrefix(string(archive.Comment), "host: ") {
				_, err := fmt.Sscanf(string(archive.Comment), "host: %dGiB", &gib)
				require.NoError(t, err)
				shared = int64(gib) << 30
			}
			found := strings.Join(check(t, t.TempDir(), string(text.Data), shared), "\n") + "\n"
			if *update {
				want.Data = []byte(found)
				require.NoError(t, os.WriteFile(file, txtar.Format(archive), 0o644))
			}
			assert.Equal(t, string(want.Data), found)
		})
	}
}

// Who comes from fleetingd with what its README says has nothing that keeps workers away.
func TestFleetingdsReadmeHasRemarksOnly(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/fleetingd-readme.txtar")
	require.NoError(t, err)
	found := check(t, t.TempDir(), string(archive.Files[0].Data), host)
	require.NotEmpty(t, found)
	for _, line := range found {
		assert.Contains(t, line, ": warning: ")
	}
}

// TestTheGuideHasAllRules holds the table of the guide, which `make generate` writes.
func TestTheGuideHasAllRules(t *testing.T) {
	const page, head = "../../../docs/guides/configuration.md", "\n| rule | level |"
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	before, after, found := strings.Cut(string(text), head)
	require.True(t, found)
	_, rest, _ := strings.Cut(after, "\n\n")
	table := " looks at | because | remedy |\n|---|---|---|---|---|\n"
	for _, r := range rules {
		table += fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", r.name, r.level, r.looksAt, r.because, r.remedy)
	}
	want := before + head + table + "\n" + rest
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o644))
		return
	}
	assert.Equal(t, want, string(text), "run make generate")
}

// Every rule finds something in one of these files, so that each is known to be able to.
func TestEveryRuleFindsSomething(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		all.Write(text)
	}
	for _, r := range rules {
		assert.Contains(t, all.String(), "["+r.name+"]\n")
	}
}

func TestTheExamplesHaveNothingToFind(t *testing.T) {
	for _, purpose := range config.Purposes() {
		assert.Empty(t, check(t, t.TempDir(), config.Example(purpose), host), purpose)
	}
}
