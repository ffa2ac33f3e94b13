package gitlab

import (
	"io"
	"net/http"
)

// takeArtifacts keeps the archive that a job uploads.
func (s *Server) takeArtifacts(w http.ResponseWriter, r *http.Request, job *Job) {
	if s.over(w, job) {
		return
	}
	file, _, err := r.FormFile("file")
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest, "no file in the form: %v", err)
		return
	}
	defer file.Close()
	archive, err := io.ReadAll(file)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest, "reading the archive: %v", err)
		return
	}
	s.mu.Lock()
	job.artifacts = archive
	s.mu.Unlock()
	reply(w, http.StatusCreated, map[string]any{"message": "201 Created"})
}

// giveArtifacts gives it to a later job, which has the token of the first.
func (s *Server) giveArtifacts(w http.ResponseWriter, r *http.Request, job *Job) {
	s.mu.Lock()
	archive := job.artifacts
	s.mu.Unlock()
	if archive == nil {
		s.refuse(w, r, http.StatusNotFound, "the job has uploaded nothing")
		return
	}
	w.Header().Set("Content-Type", "application/zip")
	_, _ = w.Write(archive) // whoever asked has gone
}
