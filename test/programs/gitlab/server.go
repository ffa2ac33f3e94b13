package gitlab

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// RunnerToken is the token of the only runner.
	RunnerToken = "glrt-played-by-a-test"
	// RunnerID is its number, by which jobs that resume a machine name it.
	RunnerID = 7
	// longPoll is how long a runner that asks for a job waits for one.
	longPoll = 20 * time.Second
	// updateInterval is how often the runner is asked to send what is new, in
	// seconds: what GitLab says while somebody looks at the job's page.
	updateInterval = "3"
)

// Server is the played GitLab.
type Server struct {
	url, repository string
	mux             *http.ServeMux

	mu         sync.Mutex
	jobs       []*Job // in the order of Offer; a job's id is its place, from 1
	news       chan struct{}
	complaints []string
}

// New returns a server that is reachable at url and serves the bare repository
// in a directory.
func New(url, repository string) *Server {
	s := &Server{url: url, repository: repository, mux: http.NewServeMux(), news: make(chan struct{})}
	s.mux.HandleFunc("POST /api/v4/runners/verify", s.verify)
	s.mux.HandleFunc("POST /api/v4/jobs/request", s.requestJob)
	s.mux.HandleFunc("PATCH /api/v4/jobs/{id}/trace", s.ofJob(s.patchTrace))
	s.mux.HandleFunc("PUT /api/v4/jobs/{id}", s.ofJob(s.updateJob))
	s.mux.HandleFunc("POST /api/v4/jobs/{id}/artifacts", s.ofJob(s.takeArtifacts))
	s.mux.HandleFunc("GET /api/v4/jobs/{id}/artifacts", s.ofJob(s.giveArtifacts))
	s.mux.HandleFunc(repositoryPath+"/", s.git)
	return s
}

// ServeHTTP is what the runner, and git in a worker, talk to.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Offer puts a job into the queue.
func (s *Server) Offer(spec Spec) *Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	job := &Job{Spec: spec, ID: len(s.jobs) + 1, token: newToken(), state: pending, server: s}
	s.jobs = append(s.jobs, job)
	s.tell()
	return job
}

// newToken returns a job's token in GitLab's form: the prefix, the number of a
// database partition in hexadecimal, and 20 random characters. Runners cut
// tokens short for their logs; 17.11 panics on one of 14 characters.
func newToken() string { return "glcbt-64_" + rand.Text()[:20] }

// Complaints is what the runner did that GitLab would have refused.
func (s *Server) Complaints() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.complaints...)
}

// tell wakes whoever waits for anything. The caller holds the lock.
func (s *Server) tell() {
	close(s.news)
	s.news = make(chan struct{})
}

// await returns once done says so. It is asked with the lock held.
func (s *Server) await(ctx context.Context, done func() bool) error {
	for {
		s.mu.Lock()
		ready, news := done(), s.news
		s.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, why string, args ...any) {
	why = fmt.Sprintf(why, args...)
	s.mu.Lock()
	s.complaints = append(s.complaints, fmt.Sprintf("%s %s: %s", r.Method, r.URL.Path, why))
	s.mu.Unlock()
	http.Error(w, why, status)
}

// runnerRequest is what the requests of a runner have in common.
type runnerRequest struct {
	Token    string `json:"token"`
	SystemID string `json:"system_id"`
	Info     struct {
		Executor string `json:"executor"`
		Version  string `json:"version"`
	} `json:"info"`
}

// ofRunner reads a request of the runner, or refuses it.
func (s *Server) ofRunner(w http.ResponseWriter, r *http.Request) bool {
	var request runnerRequest
	switch err := json.NewDecoder(r.Body).Decode(&request); {
	case err != nil:
		s.refuse(w, r, http.StatusBadRequest, "the body is not JSON: %v", err)
	case request.Token != RunnerToken:
		s.refuse(w, r, http.StatusForbidden, "an unknown runner's token")
	case request.SystemID == "":
		s.refuse(w, r, http.StatusBadRequest, "no system_id")
	default:
		return true
	}
	return false
}

func (s *Server) verify(w http.ResponseWriter, r *http.Request) {
	if s.ofRunner(w, r) {
		reply(w, http.StatusOK, map[string]any{"id": RunnerID, "token": RunnerToken, "token_expires_at": nil})
	}
}

func (s *Server) requestJob(w http.ResponseWriter, r *http.Request) {
	if !s.ofRunner(w, r) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), longPoll)
	defer cancel()
	var next *Job
	err := s.await(ctx, func() bool {
		for _, job := range s.jobs {
			if job.state == pending {
				next = job
				job.state, job.began = running, time.Now()
				s.tell()
				return true
			}
		}
		return false
	})
	if err != nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	s.mu.Lock()
	payload := next.payload()
	s.mu.Unlock()
	reply(w, http.StatusCreated, payload)
}

// ofJob finds the job of a request, which its token must fit.
func (s *Server) ofJob(handle func(http.ResponseWriter, *http.Request, *Job)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.PathValue("id"))
		s.mu.Lock()
		known := err == nil && 0 < id && id <= len(s.jobs)
		var job *Job
		if known {
			job = s.jobs[id-1]
		}
		s.mu.Unlock()
		switch {
		case !known:
			s.refuse(w, r, http.StatusNotFound, "no such job")
		case r.Header.Get("JOB-TOKEN") != job.token:
			s.refuse(w, r, http.StatusForbidden, "not the job's token")
		default:
			handle(w, r, job)
		}
	}
}

func reply(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document) // whoever asked has gone
}
