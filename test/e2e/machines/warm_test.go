//go:build linux

package machines

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/runner"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// warmWorkers names how many workers TestDockerAndPostgreSQLAreWarm has; without it
// the test, which builds an image of its own, takes no part.
const warmWorkers = "MAYFLY_TEST_WARM"

// warmSteps import an image that is one static program, run it once, and start a
// database with a session that stays open: what is written to /run/ask is answered in
// /run/said.
var warmSteps = []string{
	"tar -C / -c bin/busybox | docker import - tiny && docker run --rm tiny /bin/busybox true",
	"systemctl start postgresql; until pg_isready -q; do sleep 0.2; done",
	`mkfifo /run/ask && touch /run/said && chown postgres /run/ask /run/said
su postgres -c 'sleep infinity >/run/ask & exec psql -qX postgres </run/ask' &
echo "` + askRandom + `" >/run/ask; until [ $(wc -l </run/said) -ge 2 ]; do sleep 0.1; done`,
}

// askRandom has the session that is open write a number and a UUID to /run/said.
const askRandom = "copy (select random()::text union all select gen_random_uuid()::text) to program 'cat >>/run/said';"

// warmJob prints a word and a value on each line. What begins with "same" comes from
// generators that were seeded in the template.
const warmJob = `exec 2>&1
now() { date +%s%N; }
began=$(now); docker run --rm tiny /bin/busybox true; echo ms_container $(( ($(now) - began) / 1000000 ))
began=$(now); sudo -u postgres psql -AtXqc 'select 1' >/dev/null; echo ms_query $(( ($(now) - began) / 1000000 ))
echo kernel $(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' ')
echo uuid $(cat /proc/sys/kernel/random/uuid)
id=$(docker create tiny /bin/busybox true); echo container_id $id
echo same_container_name $(docker inspect -f '{{.Name}}' $id)
echo in_container $(docker run --rm tiny /bin/busybox head -c 16 /dev/urandom | od -An -tx1 | tr -d ' ')
echo session_random $(sudo -u postgres psql -AtXqc 'select random()')
echo session_uuid $(sudo -u postgres psql -AtXqc 'select gen_random_uuid()')
before=$(wc -l </run/said); echo "` + askRandom + `" | sudo tee /run/ask >/dev/null
until [ $(wc -l </run/said) -ge $((before + 2)) ]; do sleep 0.1; done
echo same_open_random $(tail -n 2 /run/said | head -n 1); echo open_uuid $(tail -n 1 /run/said)
echo engine $(docker info -f '{{.ID}}')
echo reseeds $(sudo dmesg | grep -c 'due to virtual machine fork')`

func warmConfig(t *testing.T, fork bool) string {
	t.Helper()
	steps, err := json.Marshal(warmSteps) // TOML reads JSON's strings
	require.NoError(t, err)
	file := filepath.Join(home, fmt.Sprintf("warm-%v.toml", fork))
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
[[runners]]
  name = "warm"
  executor = "docker-autoscaler"
  [runners.autoscaler]
    plugin = "fleeting-plugin-mayfly"
    [runners.autoscaler.plugin_config]
      state_dir = %q
      backend = "qemu"
      [runners.autoscaler.plugin_config.image]
        preset = "docker"
        packages = ["postgresql"]
      [runners.autoscaler.plugin_config.machine]
        cpus = 1
        memory = "1GiB"
        disk = "6GiB"
        start_timeout = "30m"
      [runners.autoscaler.plugin_config.fork]
        enabled = %v
        warm = %s
`, stateDir(), fork, steps), 0o600))
	return file
}

// TestDockerAndPostgreSQLAreWarm has Docker Engine by its preset and a database in ten
// workers, which were started in their template. It is the longer form of the test of
// shared randomness in backend/qemu, and prints what docs/guides/warm.md quotes.
func TestDockerAndPostgreSQLAreWarm(t *testing.T) {
	workers, err := strconv.Atoi(os.Getenv(warmWorkers))
	if err != nil {
		t.Skip("builds an image with Docker and PostgreSQL: set " + warmWorkers + " to a number of workers, such as 10")
	}
	sandbox.Need(t, "qemu-system-x86_64", "qemu-img", "mmdebstrap", "mkfs.ext4", "go", "ip", "nft")
	t.Cleanup(func() { requireNothingLeft(t) })
	said := runWarm(t, warmConfig(t, true), workers)
	owner, same := map[string]string{}, map[string]map[string]bool{}
	for _, words := range said {
		require.Equal(t, backend.Fork, words["how"])
		for label, word := range words {
			if same[label] == nil {
				same[label] = map[string]bool{}
			}
			same[label][word] = true
		}
		for _, label := range []string{
			"kernel", "uuid", "container_id", "in_container", "session_random", "session_uuid",
		} {
			require.NotEmpty(t, words[label])
			require.Empty(t, owner[words[label]], "two forks have %s %s", label, words[label])
			owner[words[label]] = words["worker"]
		}
		require.Equal(t, said[0]["same_open_random"], words["same_open_random"], "the guide says otherwise")
	}
	for label, values := range same {
		t.Logf("%s: %d values in %d forks", label, len(values), workers)
	}
	clone := runWarm(t, warmConfig(t, false), 1)[0]
	require.Equal(t, backend.Clone, clone["how"])
	for _, words := range append(said, clone) {
		t.Logf("%s: ready after %s s, first container %s ms, first query %s ms",
			words["how"], words["ready"], words["ms_container"], words["ms_query"])
	}
}

// runWarm runs the job in each of so many workers, and returns what it printed.
func runWarm(t *testing.T, config string, workers int) (said []map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	try := exec.CommandContext(ctx, testrun.Program(t), "try", "--json", "--config", config,
		"--jobs", strconv.Itoa(workers), "--", warmJob)
	try.Stderr = os.Stderr
	stdout, err := try.Output()
	require.NoError(t, err, string(stdout))
	outcome, err := runner.ParseOutcome(stdout)
	require.NoError(t, err)
	require.Len(t, outcome.Jobs, workers)
	for _, job := range outcome.Jobs {
		t.Log(job.Worker, job.Stdout, job.Stderr)
		words := map[string]string{"worker": job.Worker, "how": job.How, "ready": fmt.Sprintf("%.2f", job.ReadySeconds)}
		for _, line := range lines(job.Stdout) {
			label, word, _ := strings.Cut(line, " ")
			words[label] = word
		}
		said = append(said, words)
	}
	return said
}
