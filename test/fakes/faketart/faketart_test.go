//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain lets this binary be tart itself.
func TestMain(m *testing.M) {
	if os.Getenv("MAYFLY_BE_TART") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play runs one command line in a world.
func play(t *testing.T, world string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "MAYFLY_BE_TART=1", "TART_HOME="+filepath.Join(world, "home"),
		"MAYFLY_FAKE_TART="+world, "TART_NO_AUTO_PRUNE=")
	var out, err strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &err
	_ = cmd.Run() // its exit code is what counts
	return cmd.ProcessState.ExitCode(), out.String(), err.String()
}

func newWorld(t *testing.T) string {
	t.Helper()
	world := t.TempDir()
	for name, config := range map[string]string{
		"mac": `{"os":"darwin","cpuCount":4,"cpuCountMin":4,"memorySize":8589934592,"memorySizeMin":4294967296,` +
			`"macAddress":"5a:0:0:0:0:1","diskGB":50}`,
		"linux":     `{"os":"linux","cpuCount":4,"cpuCountMin":1,"macAddress":"5a:0:0:0:0:2","diskGB":20}`,
		"suspended": `{"os":"darwin","cpuCount":4,"cpuCountMin":4,"macAddress":"5a:0:0:0:0:3","diskGB":50}`,
	} {
		dir := filepath.Join(world, "home", "vms", name)
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "disk.img"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(world, "home", "vms", "suspended", "state.vzvmsave"), nil, 0o600))
	return world
}

// TestRefusals has what Tart refuses, by its source.
func TestRefusals(t *testing.T) {
	world := newWorld(t)
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"run mac --no-gui": {64, "Unknown option '--no-gui'"},
		"run mac --dir":    {64, "Missing value for '--dir'"},
		"run mac linux":    {64, "2 names"},
		"start mac":        {64, "Unexpected argument 'start'"},
		"run nothing":      {2, `the specified VM "nothing" does not exist`},
		"run mac --net-host --net-softnet-allow=10.0.0.0/8": {64, "mutually exclusive"},
		"run mac --net-softnet-allow=ten":                   {64, "not a CIDR"},
		"run mac --nested":                                  {64, "Linux guests only"},
		"run linux --suspendable":                           {64, "macOS"},
		"run suspended --no-keyboard":                       {64, "--suspendable"},
		"run mac --root-disk-opts=fast":                     {64, "--root-disk-opts"},
		"run mac --dir=/nowhere":                            {1, "/nowhere"},
		"run mac --disk=/nowhere:ro":                        {1, "/nowhere"},
		"ip mac":                                            {2, `VM "mac" is not running`},
		"ip mac --resolver dns":                             {64, "--resolver"},
		"ip nothing":                                        {2, "does not exist"},
		"stop mac":                                          {2, `VM "mac" is not running`},
		"suspend mac":                                       {2, `VM "VM "mac" is not running" is not running`},
		"delete nothing":                                    {2, "does not exist"},
		"clone nothing new":                                 {2, "does not exist"},
		"clone mac a/b":                                     {64, "local name"},
		"clone mac":                                         {64, "1 names"},
		"clone registry.example.org/a:b new":                {1, "404"},
		"clone mac new --random-mac":                        {64, "Unknown option"},
		"set mac --cpu 2":                                   {1, "LessThanMinimalResources"},
		"set mac --memory 1024":                             {1, "LessThanMinimalResources"},
		"set mac --memory 8GiB":                             {64, "--memory"},
		"set mac --disk-size 40":                            {1, "should be larger"},
		"get nothing --format json":                         {2, "does not exist"},
		"list --source registry --format json":              {64, "<source>"},
		"pull registry.example.org/a:b --concurrency 0":     {64, "--concurrency"},
		"fqn registry.example.org/a:b":                      {2, "does not exist"},
		"rename mac linux":                                  {1, "it exists"},
	} {
		t.Run(line, func(t *testing.T) {
			code, _, stderr := play(t, world, strings.Fields(line)...)
			require.Equal(t, want.code, code, stderr)
			require.Contains(t, stderr, want.text)
		})
	}
	require.NoFileExists(t, filepath.Join(world, "violations"))
}

func TestWhatIsAllowed(t *testing.T) {
	world := newWorld(t)
	works := func(line string) string {
		code, stdout, stderr := play(t, world, strings.Fields(line)...)
		require.Zero(t, code, "%s: %s", line, stderr)
		return stdout
	}
	require.NotEmpty(t, works("--version"))
	works("clone mac copy")
	works("set copy --cpu 4 --memory 4096 --random-mac --random-serial --disk-size 60")
	require.Contains(t, works("get copy --format json"), `"Disk": 60`)
	require.Contains(t, works("list --source local --format json"), `"State": "suspended"`)
	works("stop suspended") // which discards what was saved
	require.NotContains(t, works("list --source local --format json"), `"State": "suspended"`)
	works("delete copy")
	require.NoFileExists(t, filepath.Join(world, "violations"))

	works("clone mac linux") // replaces it without a word
	text, err := os.ReadFile(filepath.Join(world, "violations"))
	require.NoError(t, err)
	require.Contains(t, string(text), "clone over linux")
}
