package prebuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// fakeGuest answers commands that contain a word, and writes down what it was
// asked, in order. What contains the word silent it never answers.
type fakeGuest struct {
	asked   []string
	answers map[string]answer
	silent  string
}

type answer struct {
	output string
	err    error
}

func (g *fakeGuest) ask(ctx context.Context, what string, output io.Writer) error {
	g.asked = append(g.asked, what)
	if g.silent != "" && strings.Contains(what, g.silent) {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	for word, answer := range g.answers {
		if strings.Contains(what, word) {
			_, err := io.WriteString(output, answer.output)
			return errors.Join(err, answer.err)
		}
	}
	return nil
}

func (g *fakeGuest) Run(ctx context.Context, command string, output io.Writer) error {
	return g.ask(ctx, command, output)
}

func (g *fakeGuest) Fetch(ctx context.Context, path string, output io.Writer) error {
	return g.ask(ctx, "fetch "+path, output)
}

func (g *fakeGuest) Put(ctx context.Context, file guest.File, content io.Reader) error {
	text, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	return g.ask(ctx, fmt.Sprintf("put %s %o %s: %s", file.Path, file.Mode, file.Owner, text), io.Discard)
}

func (g *fakeGuest) Setenv(ctx context.Context, name, value string) error {
	return g.ask(ctx, "set "+name+"="+value, io.Discard)
}

func (g *fakeGuest) Network(ctx context.Context) error  { return g.ask(ctx, "network", io.Discard) }
func (g *fakeGuest) Seal(ctx context.Context) error     { return g.ask(ctx, "seal", io.Discard) }
func (g *fakeGuest) PowerOff(ctx context.Context) error { return g.ask(ctx, "poweroff", io.Discard) }

func newGuest() *fakeGuest {
	return &fakeGuest{answers: map[string]answer{
		resultFile:            {output: `{"v1":{"datasource":"NoCloud","errors":[]}}`},
		"ls -v vmlinuz":       {output: "/boot/vmlinuz-6\n/boot/initrd.img-6\nroot=UUID=1 rootflags=subvol=root \n"},
		"fetch /boot/vmlinuz": {output: "the kernel"},
		"fetch /boot/initrd":  {output: "the initrd"},
	}}
}

func build(t *testing.T, g *fakeGuest, commands ...string) (image.Golden, []string, error) {
	t.Helper()
	w := work(t, image.Recipe{User: "mayfly", Run: commands})
	var shown []string
	err := Run(t.Context(), g, w, func(stage, line string) { shown = append(shown, stage+": "+line) })
	return w.Golden, shown, err
}

// work is an image of which nothing but the base is there.
func work(t *testing.T, recipe image.Recipe) *Work {
	t.Helper()
	golden := image.Golden{Dir: t.TempDir(), Manifest: image.Manifest{Recipe: recipe, Steps: recipe.Parts()[:1]}}
	return &Work{Golden: golden, Keep: func(context.Context) error { return nil }}
}

func TestStepsRunInOrderAndTheDiskIsSealedLast(t *testing.T) {
	g := newGuest()
	g.answers["echo one"] = answer{output: "one\r\nand more"}
	golden, shown, err := build(t, g, "echo one", "echo two")
	require.NoError(t, err)
	require.Equal(t, "root=UUID=1 rootflags=subvol=root", golden.Root)
	require.Equal(t, []string{joinGroups("mayfly"), "echo one", "echo two", joinGroups("mayfly")}, g.asked[2:6])
	require.Equal(t, []string{"seal", "poweroff"}, g.asked[len(g.asked)-2:])
	require.Contains(t, shown, "step 1 of 2: $ echo one")
	require.Contains(t, shown, "step 1 of 2: one")
	require.Contains(t, shown, "step 1 of 2: and more", "a last line without an end is shown too")
	for path, want := range map[string]string{golden.Kernel(): "the kernel", golden.Initrd(): "the initrd"} {
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}

func TestFailingStepIsNamedWithItsLastLines(t *testing.T) {
	g := newGuest()
	g.answers["apt-get"] = answer{"reading\nno such package", &guest.ExitError{Code: 100}}
	_, _, err := build(t, g, "true", "apt-get install nothing", "never")
	require.ErrorContains(t, err, "step 2 of 3")
	require.ErrorContains(t, err, "image.run[1]")
	require.ErrorContains(t, err, "apt-get install nothing")
	require.ErrorContains(t, err, "exit code 100")
	require.ErrorContains(t, err, "no such package")
	require.NotContains(t, g.asked, "never")
	require.NotContains(t, g.asked, "seal")
}

func TestFailuresThatEndTheBuild(t *testing.T) {
	lost := errors.New("connection lost")
	for name, test := range map[string]struct {
		word   string
		answer answer
		want   string
	}{
		"no network":        {"network", answer{err: lost}, "to set up the network"},
		"cloud-init error":  {resultFile, answer{output: `{"v1":{"errors":["package_update failed"]}}`}, "cloud-init: package_update failed"},
		"cloud-init silent": {resultFile, answer{err: lost}, "waiting for cloud-init"},
		"cloud-init odd":    {resultFile, answer{output: "{"}, "reading cloud-init's result"},
		"tool missing":      {"command -v", answer{"missing: git\n", &guest.ExitError{Code: 1}}, "missing: git"},
		"odd boot":          {"ls -v vmlinuz", answer{output: "/boot/vmlinuz-6\n"}, "odd answer"},
		"no kernel":         {"ls -v vmlinuz", answer{"no kernel\n", &guest.ExitError{Code: 1}}, "no kernel"},
		"fetch":             {"fetch /boot/vmlinuz", answer{err: lost}, "fetching /boot/vmlinuz-6"},
		"seal":              {"seal", answer{err: lost}, "sealing the image"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest()
			g.answers[test.word] = test.answer
			_, _, err := build(t, g)
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, g.asked, "poweroff")
		})
	}
}

func TestErrorsOfModulesThatNobodyAskedForAreShownOnly(t *testing.T) {
	var shown []string
	fatal := sortErrors([]string{
		"('locale', ProcessExecutionError('Unexpected error'))",
		"('package_update_upgrade_install', CalledProcessError('apt-get'))",
		"('users-groups', ValueError('x'))",
		"something else",
	}, func(_, line string) { shown = append(shown, line) })
	require.Equal(t, []string{
		"('package_update_upgrade_install', CalledProcessError('apt-get'))",
		"('users-groups', ValueError('x'))",
		"something else",
	}, fatal)
	require.Equal(t, []string{"ignored: ('locale', ProcessExecutionError('Unexpected error'))"}, shown)
}

func TestTreeIsMadeWithoutBootAndSealedLast(t *testing.T) {
	g := newGuest()
	var shown []string
	recipe := image.Recipe{User: "mayfly", Run: []string{"echo one"}}
	show := func(stage, line string) { shown = append(shown, stage+": "+line) }
	require.NoError(t, Tree(t.Context(), g, work(t, recipe), show))
	require.Equal(t, "network", g.asked[0])
	require.Contains(t, g.asked[1], "useradd --create-home --shell /bin/bash mayfly")
	require.Equal(t, []string{joinGroups("mayfly"), "echo one", joinGroups("mayfly")}, g.asked[2:5])
	require.Equal(t, "seal", g.asked[len(g.asked)-1], "its host ends it")
	require.Contains(t, shown, "step 1 of 1: $ echo one")

	g = newGuest()
	require.NoError(t, Tree(t.Context(), g, work(t, image.Recipe{User: "root"}), func(string, string) {}))
	for _, asked := range g.asked {
		require.NotContains(t, asked, "useradd")
	}
}

func TestFailuresThatEndATree(t *testing.T) {
	for word, want := range map[string]string{
		"network": "setting up the network of the prebuild", "useradd": "making the account mayfly",
		"exit 1": "image.run[0]", "seal": "sealing the image",
	} {
		g := newGuest()
		g.answers[word] = answer{"the reason", &guest.ExitError{Code: 1}}
		recipe := image.Recipe{User: "mayfly", Run: []string{"exit 1"}}
		err := Tree(t.Context(), g, work(t, recipe), func(string, string) {})
		require.ErrorContains(t, err, want)
	}
}

// A build that goes on from a layer does only what is not behind it, and keeps each
// state on its way.
func TestWorkGoesOnFromWhereItIs(t *testing.T) {
	recipe := image.Recipe{User: "mayfly", PresetRun: []string{"echo one"}, Run: []string{"echo two", "echo three"}}
	type build func(context.Context, Guest, *Work, image.Progress) error
	for name, run := range map[string]build{"disk": Run, "tree": Tree} {
		g, w := newGuest(), work(t, recipe)
		w.Steps, w.Prepared = recipe.Parts()[:3], true
		for i := range w.Steps {
			w.Steps[i].Cached = true
		}
		var kept []int
		w.Keep = func(context.Context) error {
			kept = append(kept, len(w.Steps)-1)
			return nil
		}
		var shown []string
		require.NoError(t, run(t.Context(), g, w, func(stage, line string) { shown = append(shown, stage+": "+line) }))
		require.Equal(t, []string{"network", joinGroups("mayfly"), "echo three"}, g.asked[:3], name)
		require.Contains(t, shown, "step 3 of 3: $ echo three")
		require.Equal(t, []int{3}, kept)
		require.Len(t, w.Steps, 4)
		require.Equal(t, "image.run[1]", w.Steps[3].Name)
		require.Positive(t, w.Steps[3].Seconds)
		require.False(t, w.Steps[3].Cached)
	}
}

func TestAStateThatCannotBeKeptIsShownOnly(t *testing.T) {
	g, w := newGuest(), work(t, image.Recipe{User: "mayfly", Run: []string{"echo one"}})
	states := 0
	w.Keep = func(context.Context) error {
		states++
		return errors.New("no room")
	}
	var shown []string
	require.NoError(t, Run(t.Context(), g, w, func(stage, line string) { shown = append(shown, stage+": "+line) }))
	require.Equal(t, 2, states, "the first boot's, and the step's")
	require.Contains(t, shown, "layer: not kept: no room")

	ctx, cancel := context.WithCancel(t.Context())
	w = work(t, image.Recipe{User: "mayfly", Run: []string{"echo one"}})
	w.Keep = func(context.Context) error {
		cancel()
		return context.Canceled
	}
	require.ErrorIs(t, Run(ctx, g, w, func(string, string) {}), context.Canceled)
}
