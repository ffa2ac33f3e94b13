//go:build linux

package qemu

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// oracle is a process with a generator of its own, seeded when it was started. Whoever
// reads /run/oracle gets its pid, when it was started, 16 bytes of the kernel's, a
// UUID, and a number of its own generator.
const oracle = `cat >/run/oracle.py <<'END'
import os, random, time, uuid
began, _ = time.monotonic(), random.random()
while True:
    with open("/run/oracle", "w") as asker:
        asker.write("pid %d\nbegan %f\n" % (os.getpid(), began))
        asker.write("kernel %s\nuuid %s\n" % (os.urandom(16).hex(), uuid.uuid4()))
        asker.write("own %.17f\n" % random.random())
    time.sleep(0.2)
END
mkfifo -m 0644 /run/oracle
python3 /run/oracle.py &`

// onNetwork fails where there is no way out.
const onNetwork = "ip -4 route get 192.0.2.1 | grep 'via 198.18.0.1'"

// newWarmForks is a world whose template runs commands, and is not made yet.
func newWarmForks(t testing.TB, name string, commands ...string) forks {
	t.Helper()
	f := forks{world: newWorld(t, name), size: forkSize, patience: testrun.Patience(t)}
	f.options.ForkLimit = f.patience
	f.options.TemplatesDir = filepath.Join(f.dir, "templates")
	f.options.Warm = []image.Commands{{Setting: "fork.warm", Shell: commands}}
	f.Backend = f.again()
	require.NoError(t, f.network.Open(t.Context()))
	t.Cleanup(func() { require.NoError(t, f.network.Close(context.Background())) })
	var err error
	told := func(stage, line string) { t.Log(stage, line) }
	f.golden, err = f.Build(t.Context(), testrun.Golden(t, imagesDir()), told)
	require.NoError(t, err)
	return f
}

// TestTenWarmForksRepeatNothingOfTheKernels has a process that was started in the
// template, before the forks were: it goes on in each of them. What it draws from the
// kernel no two of them have in common, and what its own generator draws all of them
// have; docs/guides/warm.md says so.
func TestTenWarmForksRepeatNothingOfTheKernels(t *testing.T) {
	f := newWarmForks(t, "warm", onNetwork, oracle, "grep -m 1 pid /run/oracle")
	require.NoError(t, f.Prepare(t.Context(), f.golden, f.size, nil, nil,
		func(stage, line string) { t.Log(stage, line) }))
	const count = 10
	said := make([]map[string]string, count)
	generations := make([]string, count)
	var all errgroup.Group
	all.SetLimit(2)
	for n := range count {
		spec, key := f.spec(t, n)
		all.Go(func() error {
			w, err := f.begin(t.Context(), spec, key)
			if err != nil {
				return err
			}
			out, err := w.Run("cat /run/oracle; echo draw $(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' ')\n" +
				"echo how " + w.How() + "; echo listens $(sudo dmesg | grep -c 'due to virtual machine fork')")
			if err != nil {
				return err
			}
			said[n] = labelled(out)
			generation := struct{ GUID string }{newGeneration()} // where QEMU has none
			if hasGenerations {
				err = f.driver.of(spec.ID).qmp.Execute(t.Context(), "query-vm-generation-id", nil, &generation)
			}
			generations[n] = generation.GUID
			return err
		})
	}
	require.NoError(t, all.Wait())
	owner := map[string]int{}
	for n, words := range said {
		require.Equal(t, backend.Fork, words["how"])
		for _, same := range []string{"pid", "began", "own", "listens"} {
			require.Equal(t, said[0][same], words[same], "%s: it is one process of the template's", same)
		}
		for _, own := range []string{words["kernel"], words["uuid"], words["draw"], generations[n]} {
			other, taken := owner[own]
			require.False(t, taken, "forks %d and %d both have %q", other, n, own)
			require.Greater(t, len(own), 30)
			owner[own] = n
		}
	}
	// Debian 12's kernel for clouds is built without CONFIG_VMGENID.
	t.Logf("the kernel has reseeded its generator for another generation %s times", said[0]["listens"])
}

// labelled are lines of a word and what it says.
func labelled(text string) map[string]string {
	words := map[string]string{}
	for line := range strings.Lines(text) {
		label, word, _ := strings.Cut(strings.TrimSpace(line), " ")
		words[label] = word
	}
	return words
}

// TestTemplatesThatAreNotMadeWarm has real guests that fail, or hold what they should
// not.
func TestTemplatesThatAreNotMadeWarm(t *testing.T) {
	for name, test := range map[string]struct {
		commands []string
		want     []string
	}{
		"failed": {[]string{"true", "echo no such database; exit 7"},
			[]string{
				"warm step 2 of 2 (fork.warm[1]: echo no such database; exit 7)", "exit code 7", "no such database",
			}},
		"refused": {[]string{"ssh-agent -a /run/agent; echo '//r/:_authToken=x' >/root/.npmrc"},
			[]string{
				"after the warm steps", "the process ssh-agent", "/root/.npmrc, which holds the token of a registry",
			}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newWarmForks(t, "cold-"+name, test.commands...)
			err := f.Prepare(t.Context(), f.golden, f.size, nil, nil, func(string, string) {})
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
			require.False(t, f.Stockable(t.Context(), f.golden, f.size))
			machines, err := f.Find(t.Context())
			require.NoError(t, err)
			require.Empty(t, machines)
		})
	}
}
