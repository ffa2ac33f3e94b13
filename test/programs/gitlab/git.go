package gitlab

import (
	"fmt"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// repositoryPath is where the repository is below the server's URL.
const repositoryPath = "/group/project.git"

// Branch is the only branch, and Greeting what its only file, greeting, holds.
const (
	Branch   = "main"
	Greeting = "hello from the repository"
)

// MakeRepository makes a bare repository with one commit.
func MakeRepository(dir string) error {
	const script = `
		git init --quiet --initial-branch="$2" "$1.work"
		cd "$1.work"
		printf '%s\n' "$3" >greeting
		git add greeting
		git -c user.name=test -c user.email=test@example.com commit --quiet -m "A greeting"
		git clone --quiet --bare . "$1"
		rm -rf "$1.work"
	`
	out, err := exec.Command("sh", "-ec", script, "sh", dir, Branch, Greeting).CombinedOutput()
	if err != nil {
		return fmt.Errorf("making a repository: %w\n%s", err, out)
	}
	return nil
}

// git serves the repository to a job that is in work, and to nobody else.
func (s *Server) git(w http.ResponseWriter, r *http.Request) {
	_, password, given := r.BasicAuth()
	switch {
	case !given: // git asks without at first
		w.Header().Set("WWW-Authenticate", `Basic realm="GitLab"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	case !s.inWork(password):
		s.refuse(w, r, http.StatusForbidden, "no running job has this token")
		return
	}
	backend := cgi.Handler{
		Path: "/usr/bin/env", Args: []string{"git", "http-backend"},
		Root: strings.TrimSuffix(repositoryPath, "/project.git"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + filepath.Dir(s.repository), "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=job",
		},
		InheritEnv: []string{"PATH", "HOME"}, Stderr: os.Stderr,
	}
	backend.ServeHTTP(w, r)
}

func (s *Server) inWork(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, job := range s.jobs {
		if job.token == token {
			return job.state == running
		}
	}
	return false
}

// gitInfo tells a job where the repository is, and what to check out.
func (s *Server) gitInfo(job *Job) map[string]any {
	sha, _ := exec.Command("git", "-C", s.repository, "rev-parse", Branch).Output()
	url := strings.Replace(s.url, "://", "://gitlab-ci-token:"+job.token+"@", 1) + repositoryPath
	return map[string]any{
		"repo_url": url, "ref": Branch, "ref_type": "branch", "depth": 20,
		"sha": strings.TrimSpace(string(sha)), "before_sha": strings.Repeat("0", 40),
		"refspecs": []string{"+refs/heads/" + Branch + ":refs/remotes/origin/" + Branch},
	}
}
