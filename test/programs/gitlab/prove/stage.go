//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/island"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/gitlab"
)

// GitLab is in a private network, which workers may not reach unless the
// configuration says so.
const (
	gitlabAddress = "192.168.77.1"
	makeNetwork   = `
		ip netns add gitlab
		ip link add lan0 type veth peer name lan0 netns gitlab
		ip address add 192.168.77.2/24 dev lan0
		ip link set lan0 up
		ip -n gitlab address add ` + gitlabAddress + `/24 dev lan0
		ip -n gitlab link set lan0 up
		ip -n gitlab link set lo up
		ip route add default via ` + gitlabAddress + `
	`
	removeNetwork = `
		ip link delete lan0
		ip netns delete gitlab
	`
)

// plugin is the name by which the runner finds the plugin.
const plugin = "fleeting-plugin-mayfly"

// stage is what all scenarios share.
type stage struct {
	options
	gitlab *gitlab.Server
	server *http.Server
	work   string // removed in the end
}

func setUp(o options) (*stage, error) {
	work, err := os.MkdirTemp("", "mf-prove-") // short: it may hold sockets
	if err != nil {
		return nil, err
	}
	s := &stage{options: o, work: work, server: &http.Server{}}
	if s.stateDir == "" {
		s.stateDir = filepath.Join(work, "state")
	}
	if err := s.furnish(); err != nil {
		return nil, errors.Join(err, s.tearDown())
	}
	return s, nil
}

func (s *stage) furnish() error {
	if err := shell(makeNetwork); err != nil {
		return err
	}
	if err := s.installPrograms(); err != nil {
		return err
	}
	repository := filepath.Join(s.work, "project.git")
	if err := gitlab.MakeRepository(repository); err != nil {
		return err
	}
	s.gitlab = gitlab.New("http://"+gitlabAddress, repository)
	return s.serve()
}

// installPrograms puts both programs where a runner finds a plugin by its name,
// and an image build the runner for its guests: into PATH.
func (s *stage) installPrograms() error {
	bin := filepath.Join(s.work, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	for name, path := range map[string]string{"gitlab-runner": s.runner, plugin: s.plugin} {
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	return os.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

func (s *stage) serve() error {
	var listener net.Listener
	err := island.Do("/run/netns/gitlab", func() (err error) {
		listener, err = net.Listen("tcp", gitlabAddress+":80")
		return err
	})
	if err != nil {
		return err
	}
	s.server.Handler = s.gitlab
	go func() { _ = s.server.Serve(listener) }() // until tearDown closes it
	return nil
}

func (s *stage) tearDown() error {
	_ = s.server.Close()
	if err := os.RemoveAll(s.work); err != nil {
		return err
	}
	return shell(removeNetwork)
}

func shell(script string) error {
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
