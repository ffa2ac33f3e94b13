//go:build linux

package main

import (
	"context"
	"fmt"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/gitlab"
)

// dockerImage is what docs/guides/runner.md says, and two container images that
// are made while ours is built, since there is no registry: one to run jobs in,
// and one that has what the runner's own helper image has.
const dockerImage = `
      packages = ["docker.io", "apparmor", "busybox-static"]
      run = [
        "usermod -aG docker mayfly",
        '''
          mkdir -p /tmp/image/bin /tmp/image/usr/bin /tmp/image/tmp
          for name in $(busybox --list); do ln -s busybox /tmp/image/bin/$name; done
          rm -f /tmp/image/bin/busybox
          cp /bin/busybox /tmp/image/bin
          tar -C /tmp/image -c . | docker import - job:made
          cp /usr/local/bin/gitlab-runner /tmp/image/usr/bin/gitlab-runner-helper
          printf '#!/bin/sh\numask 0000\nexec /bin/sh\n' >/tmp/image/usr/bin/gitlab-runner-build
          chmod +x /tmp/image/usr/bin/gitlab-runner-build
          tar -C /tmp/image -c . | docker import - helper:made
          rm -r /tmp/image
        ''',
      ]`

const dockerRunner = `
  [runners.docker]
    image = "job:made"
    helper_image = "helper:made"
    pull_policy = "if-not-present"
`

// dockerReady has the runner wait until docker answers, which may be some time
// after SSH does.
const dockerReady = `    instance_ready_command = "until docker info; do sleep 1; done >/dev/null 2>&1"
`

// docker runs two jobs, each in a container on a machine of its own, one of
// which hands a file to the other.
func docker(ctx context.Context, s *stage) error {
	set := settings{executor: "docker-autoscaler", idle: 1, runner: dockerRunner, autoscaler: dockerReady,
		image: dockerImage}
	return s.with(ctx, set, func(*runner) error {
		first := s.gitlab.Offer(gitlab.Spec{
			Name: "in a container", Image: "job:made", Artifacts: []string{"made"},
			Script: []string{"test -e /.dockerenv", "hostname >made", "echo name=$(hostname)"},
		})
		made, err := await(ctx, first, gitlab.Success)
		if err != nil {
			return err
		}
		second := s.gitlab.Offer(gitlab.Spec{
			Name: "in another container", Image: "job:made", From: first, Script: []string{"echo made=$(cat made)"},
		})
		outcome, err := await(ctx, second, gitlab.Success)
		if err != nil {
			return err
		}
		if name := after(outcome.Trace, "made="); name == "" || name != strings.TrimSpace(after(made.Trace, "name=")) {
			return fmt.Errorf("the second job has %q of the first, whose trace is\n%s", name, made.Trace)
		}
		return nil
	})
}
