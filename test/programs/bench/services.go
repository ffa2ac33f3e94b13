//go:build linux

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

// What an image with services has: docker and a tiny image to import, a database,
// and what is worked with inside workers (devices.go).
var (
	servicePackages = []string{"apparmor", "docker.io", "postgresql", "busybox-static", "fio", "git", "socat"}
	serviceSteps    = append([]string{
		// Newer releases have the command in a package of its own.
		"command -v docker || apt-get install -y --no-install-recommends docker-cli",
		"mkdir -p " + material,
		"tar -C /bin -cf " + material + "/tiny.tar busybox",
	}, fileSteps...)
)

// material is the directory of what is prepared in such an image.
const material = "/opt/bench"

func withServices(c *config.Config) {
	c.Image.Packages, c.Image.Run = servicePackages, serviceSteps
}

// What root runs before a first container and a first query can be had.
const (
	dockerReady = `set -e; systemctl start docker
		docker image inspect tiny >/dev/null 2>&1 || docker import ` + material + `/tiny.tar tiny >/dev/null`
	postgresReady = `set -e; cd /; systemctl start postgresql`
)

// What root runs for them.
const (
	oneContainer = `docker run --rm tiny /busybox echo ran`
	oneQuery     = `cd /; su postgres -c "psql -qAtc \"select 'answered'\""`
)

const (
	serviceReady   = "ready"
	firstContainer = "first `docker run`"
	firstQuery     = "first query"
)

// services are the rows that need one: what is to be done first, what is run then, and
// what that says in the end.
var services = []struct{ row, ready, script, says string }{
	{firstContainer, dockerReady, oneContainer, "ran"},
	{firstQuery, postgresReady, oneQuery, "answered"},
}

// measureWarm measures a container and a query from the moment that the worker was
// asked for: a clone's job waits until the service is there and imports what it runs, that
// of a warm fork has both and begins with the container, or the query, itself.
func (b *bench) measureWarm(ctx context.Context, s *stage, d *report.Document) error {
	var before []string
	for _, service := range services {
		before = append(before, service.ready+"\n"+service.script)
	}
	warm, err := b.addForks(ctx, report.WarmFork, s.config, before...)
	if err != nil {
		return err
	}
	in := func(p *plugin, isWarm bool) way {
		return way{p.name(), func(ctx context.Context) (map[string]float64, error) { return served(ctx, p, isWarm) }}
	}
	return b.compare(ctx, d, report.SectionWarm, []string{serviceReady, firstContainer, firstQuery},
		[]way{in(s.clones, false), in(warm, true)})
}

// served has each service used in a worker of its own, in which it may be warm.
func served(ctx context.Context, m method, isWarm bool) (map[string]float64, error) {
	took := make(map[string]float64)
	for _, service := range services {
		err := one(ctx, m, func(w worker) error {
			began := time.Now()
			script := service.script
			if !isWarm {
				script = service.ready + "\n" + script
			}
			said, err := w.run(ctx, asRoot(script))
			if err != nil {
				return fmt.Errorf("%s: %w: %s", service.row, err, said)
			}
			if !strings.HasSuffix(said, service.says+"\n") {
				return fmt.Errorf("%s: said %q", service.row, said)
			}
			took[serviceReady] = w.ready
			took[service.row] = w.ready + seconds(time.Since(began))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return took, nil
}

// asRoot is a job's script that has root run a script. What that says on stderr
// is no failure.
func asRoot(script string) string {
	return "sudo sh 2>&1 <<'END'\n" + script + "\nEND\n"
}
