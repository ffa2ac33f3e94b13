package provider

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/synthetic"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func TestMissingHasALineForEachWithItsMend(t *testing.T) {
	require.NoError(t, Missing([]backend.Finding{{Level: backend.OK}, {Level: backend.Warning}}))
	err := Missing([]backend.Finding{
		{Level: backend.Missing, What: "a", Detail: "not found", Mend: "install a"},
		{Level: backend.OK, What: "b"},
		{Level: backend.Missing, What: "c", Detail: "not found", Mend: "install c"},
	})
	require.EqualError(t, err, "missing  a: not found\n         mend: install a\nmissing  c: not found\n         mend: install c")
}

func TestStateDirThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	finding := checkStateDir(filepath.Join(file, "state"))
	require.Equal(t, backend.Missing, finding.Level)
	require.NotEmpty(t, finding.Mend)
}

func TestStateDirStaysAsItWas(t *testing.T) {
	dir := t.TempDir()
	require.NotEqual(t, backend.Missing, checkStateDir(dir).Level)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestCheckOfTheSyntheticBackend(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	name, findings, err := Check(t.Context(), w.config(), silent)
	require.NoError(t, err)
	require.Equal(t, config.BackendSynthetic, name)
	require.NoError(t, Missing(findings))
}

// Nothing is isolated there, so nobody gets it without asking for it.
func TestAutoNeverTakesTheSyntheticBackend(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	c := w.config()
	c.Backend = config.BackendAuto
	candidates, err := candidates(c, silent)
	if err == nil {
		for _, a := range candidates {
			require.NotEqual(t, config.BackendSynthetic, a.name)
		}
		return
	}
	require.ErrorContains(t, err, "finds no backend")
}

func TestBackendThatNeedsRootSaysSo(t *testing.T) {
	a := assembly{root: true, backend: synthetic.New(synthetic.Options{})}
	err := Missing(a.check(t.Context()))
	if os.Geteuid() == 0 {
		require.NoError(t, err)
		return
	}
	require.ErrorContains(t, err, "need root")
}

func TestBuiltImageIsThatOfTheRecipe(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	golden, name, err := BuildImage(t.Context(), w.config(), "root", func(string, string) {}, silent)
	require.NoError(t, err)
	require.Equal(t, config.BackendSynthetic, name)
	recipe, err := Recipe(w.config(), "root")
	require.NoError(t, err)
	require.Equal(t, recipe.Digest(), golden.Digest)
	require.Len(t, recipe.AgentSHA256, 64)

	other, err := Recipe(w.config(), "")
	require.NoError(t, err)
	require.NotEqual(t, recipe.Digest(), other.Digest(), "another user makes another image")
}

// failing is a backend that cannot build.
type failing struct {
	*synthetic.Backend
	err error
}

func (f failing) Build(context.Context, image.Recipe, image.Progress) (image.Golden, error) {
	return image.Golden{}, f.err
}

func TestFailedBuildWaitsInCreatingAndFailsItsWorkers(t *testing.T) {
	w := newWorld(t, synthetic.Options{})
	err := errors.New("no mirror")
	w.assemble = func(context.Context, config.Config, *slog.Logger) (assembly, error) {
		return assembly{name: "failing", backend: failing{w.backend, err}, network: network.None{}, access: access.SSH{}}, nil
	}
	w.start()
	_, increase := w.Increase(t.Context(), 1)
	require.NoError(t, increase)
	require.Len(t, w.update(), 1)
	require.NoError(t, w.Shutdown(t.Context()))
}
