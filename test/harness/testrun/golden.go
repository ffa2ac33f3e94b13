package testrun

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// Steps are the steps of the golden image. A configuration that asks for them
// as image.run, with Inputs and a disk of DiskSize and all else as by default, asks for
// that image.
var Steps = []string{
	"echo 'a: b' >/etc/mayfly-step", "su - mayfly -c 'sudo -n id -u'",
	"echo '192.0.2.7 registry.test' >>/etc/hosts", "groupadd --force docker",
	`echo "secret: $STEP_SECRET"; test "$STEP_VALUE ${#STEP_SECRET}" = "given 21"`,
}

// Inputs is what the steps find, as the file has it in the table of the image, and
// InputsJSON is the same as the plugin is given it.
const Inputs = `
        files = { "/etc/mayfly/file" = { content = "ours", mode = "0640", owner = "mayfly" } }
        env = { STEP_VALUE = "given" }
        secrets = { STEP_SECRET = "env:` + SecretVariable + `" }
`

// InputsJSON is what Inputs says, with the steps.
func InputsJSON() map[string]any {
	return map[string]any{
		"run": Steps,
		"files": map[string]any{
			"/etc/mayfly/file": map[string]any{"content": "ours", "mode": "0640", "owner": "mayfly"},
		},
		"env":     map[string]any{"STEP_VALUE": "given"},
		"secrets": map[string]any{"STEP_SECRET": "env:" + SecretVariable},
	}
}

// WithSecrets is a recipe of the golden image that was read from its manifest, which does
// not say where the values of secrets are. A build of it by this process needs
// SecretVariable in its environment.
func WithSecrets(recipe image.Recipe) image.Recipe {
	recipe.Secrets = []image.Secret{{Name: "STEP_SECRET", Variable: SecretVariable}}
	return recipe
}

// Environment is what a build of the golden image has besides our own environment, with
// Secret in it.
func Environment() []string { return append(os.Environ(), SecretVariable+"="+Secret) }

// Secret is what the steps see, and nobody else.
const Secret = "correct horse battery"

// SecretVariable is where a build finds it.
const SecretVariable = "MAYFLY_TEST_SECRET"

// DiskSize is the size of the golden image's disk, as machine.disk says it.
const DiskSize = "4GiB"

// Recipe is the recipe of the golden image, which is built when nobody in this
// run has built it yet.
func Recipe(t testing.TB) image.Recipe {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(built(t), image.ManifestFile))
	require.NoError(t, err)
	var manifest image.Manifest
	require.NoError(t, json.Unmarshal(text, &manifest))
	recipe := WithSecrets(manifest.Recipe)
	recipe.Agent, recipe.CPUs, recipe.Memory = Program(t), 2, 1<<30
	return recipe
}

// Golden puts the golden image into a directory of images, by hard links: what
// one package does there does not show in another. Build then finds it there.
func Golden(t testing.TB, imagesDir string) image.Recipe {
	t.Helper()
	from, recipe := built(t), Recipe(t)
	link(t, from, imagesDir)
	return recipe
}

// Layers puts the layers of the golden image there too. Those of trees, which other tests of
// the run may have made beside them, are passed over.
func Layers(t testing.TB, imagesDir string) {
	t.Helper()
	const name = "layers"
	found, err := filepath.Glob(filepath.Join(filepath.Dir(built(t)), name, "[0-9a-f]*"))
	require.NoError(t, err)
	for _, from := range found {
		if _, err := os.Stat(filepath.Join(from, image.TreeDir)); err == nil {
			continue
		}
		link(t, from, filepath.Join(imagesDir, name))
	}
}

// link makes a directory of the same name, with hard links to the files, unless it is
// there.
func link(t testing.TB, from, parent string) {
	t.Helper()
	to := filepath.Join(parent, filepath.Base(from))
	if _, err := os.Stat(to); err == nil {
		return
	}
	require.NoError(t, os.MkdirAll(parent, 0o700))
	part, err := os.MkdirTemp(parent, ".golden-")
	require.NoError(t, err)
	entries, err := os.ReadDir(from)
	require.NoError(t, err)
	for _, entry := range entries {
		require.NoError(t, os.Link(filepath.Join(from, entry.Name()), filepath.Join(part, entry.Name())))
	}
	require.NoError(t, os.Rename(part, to))
}

// checkHidden looks at what a build has shown.
func checkHidden(progress string) error {
	if !strings.Contains(progress, "secret: [hidden]\n") || strings.Contains(progress, Secret) {
		return errors.New("the build shows the secret of its steps, or does not run the step that has it")
	}
	return nil
}

// Built says whether the run has the golden image already, for tests that must not
// have it built where they are: on the machine's own network.
func Built() bool {
	run := os.Getenv(Variable)
	if run == "" {
		return false
	}
	_, err := os.Stat(digestFile(run))
	return err == nil
}

func digestFile(run string) string { return filepath.Join(run, "digest") }

// built is the golden image's directory. The program itself builds it.
func built(t testing.TB) string {
	t.Helper()
	need.Programs(t, "mmdebstrap") // so that a short run never builds it
	state := filepath.Join(dir(t), "state")
	file := digestFile(dir(t))
	once(t, file, func() error {
		config := filepath.Join(dir(t), "config.toml")
		if err := write(config, configuration()); err != nil {
			return err
		}
		var stdout, stderr bytes.Buffer
		// From scratch, since its boot is measured: a run that was killed may have left layers.
		build := exec.Command(Program(t), "image", "build", "--from-scratch", "--config", config, "--state-dir", state)
		build.Env = Environment()
		build.Stdout, build.Stderr = &stdout, io.MultiWriter(os.Stderr, &stderr)
		if err := build.Run(); err != nil {
			return fmt.Errorf("building the golden image: %w\n%s", err, &stderr)
		}
		if err := notePace(dir(t), stderr.String()); err != nil {
			return err
		}
		if err := checkHidden(stderr.String()); err != nil {
			return err
		}
		return write(file, strings.TrimSpace(stdout.String()))
	})
	digest, err := os.ReadFile(file)
	require.NoError(t, err)
	return filepath.Join(state, "images", string(digest))
}

// ImageSection is what a configuration says in the table of the image to ask for the golden
// image.
func ImageSection() string {
	steps, _ := json.Marshal(Steps) // strings cannot fail, and TOML reads JSON's
	return fmt.Sprintf("        run = %s%s", steps, Inputs)
}

func configuration() string {
	return fmt.Sprintf(`
[[runners]]
  name = "shared"
  executor = "instance"
  [runners.autoscaler]
    plugin = "fleeting-plugin-mayfly"
    [runners.autoscaler.plugin_config]
      backend = "qemu"
      [runners.autoscaler.plugin_config.image]
%s
      [runners.autoscaler.plugin_config.machine]
        cpus = 2
        memory = "1GiB"
        disk = %q
`, ImageSection(), DiskSize)
}
