package gitlab

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
)

// over answers what comes for a job that is over or cancelled, as GitLab does:
// the runner is told the job's state and stops.
func (s *Server) over(w http.ResponseWriter, job *Job) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Job-Status", string(job.state))
	w.Header().Set("X-GitLab-Trace-Update-Interval", updateInterval)
	if job.state == running {
		return false
	}
	w.WriteHeader(http.StatusForbidden)
	return true
}

// patchTrace takes the next piece of a trace. One that leaves a gap, or is said
// to be of another length, is refused with how far the trace goes.
func (s *Server) patchTrace(w http.ResponseWriter, r *http.Request, job *Job) {
	if s.over(w, job) {
		return
	}
	piece, err := io.ReadAll(r.Body)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest, "reading the trace: %v", err)
		return
	}
	var from, to int
	if _, err := fmt.Sscanf(r.Header.Get("Content-Range"), "%d-%d", &from, &to); err != nil || to-from+1 != len(piece) {
		s.refuse(w, r, http.StatusBadRequest, "Content-Range %q for %d bytes", r.Header.Get("Content-Range"),
			len(piece))
		return
	}
	s.mu.Lock()
	gap := from != len(job.trace)
	if !gap {
		job.trace = append(job.trace, piece...)
		s.tell()
	}
	w.Header().Set("Range", fmt.Sprintf("0-%d", len(job.trace)))
	s.mu.Unlock()
	if gap {
		s.refuse(w, r, http.StatusRequestedRangeNotSatisfiable, "the piece begins at %d", from)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// update is what a runner says about a job.
type update struct {
	Token          string `json:"token"`
	State          State  `json:"state"`
	ExitCode       int    `json:"exit_code"`
	FailureReason  string `json:"failure_reason"`
	EnvironmentKey string `json:"runtime_environment_key"`
	Output         struct {
		Checksum string `json:"checksum"`
		Bytesize int    `json:"bytesize"`
	} `json:"output"`
}

// updateJob takes a job's end, and the word that it goes on.
func (s *Server) updateJob(w http.ResponseWriter, r *http.Request, job *Job) {
	if s.over(w, job) {
		return
	}
	var u update
	if err := json.NewDecoder(r.Body).Decode(&u); err != nil {
		s.refuse(w, r, http.StatusBadRequest, "the body is not JSON: %v", err)
		return
	}
	switch u.State {
	case running:
	case Success, Failed:
		if why := s.finish(job, u); why != "" {
			s.refuse(w, r, http.StatusPreconditionFailed, "%s", why)
			return
		}
	default:
		s.refuse(w, r, http.StatusBadRequest, "state %q", u.State)
		return
	}
	reply(w, http.StatusOK, map[string]any{})
}

// finish ends a job, unless its trace is not the one that the runner sent.
func (s *Server) finish(job *Job, u update) (why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := fmt.Sprintf("crc32:%08x", crc32.ChecksumIEEE(job.trace))
	if u.Output.Bytesize != len(job.trace) || u.Output.Checksum != sum {
		return fmt.Sprintf("the trace has %d bytes, %s; the runner says %d, %s", len(job.trace), sum,
			u.Output.Bytesize, u.Output.Checksum)
	}
	job.state, job.exitCode, job.failureReason, job.environmentKey = u.State, u.ExitCode, u.FailureReason,
		u.EnvironmentKey
	s.tell()
	return ""
}
