package gitlab

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

// Spec is what a job is to do.
type Spec struct {
	Name   string
	Script []string
	// AfterScript runs in a shell of its own when Script has ended.
	AfterScript []string
	// Timestamps has the runner begin each line of the trace with the time.
	Timestamps bool
	// Image is for executors that have containers.
	Image string
	// Git has the repository cloned; without it a job begins in an empty
	// directory.
	Git bool
	// Artifacts are paths that the job uploads; From is the job whose artifacts
	// it downloads.
	Artifacts []string
	From      *Job
	Variables map[string]string
	// Suspend keeps the machine after success; Resume is what the job that left
	// it was called then.
	Suspend bool
	Resume  string
}

// State is what GitLab calls a job's status.
type State string

const (
	pending  State = "pending"
	running  State = "running"
	Success  State = "success"
	Failed   State = "failed"
	Canceled State = "canceled"
)

// Job is a job in the queue, in work, or done.
type Job struct {
	Spec
	ID     int
	token  string
	server *Server

	// The server's lock is for all of these.
	state          State
	trace          []byte
	began          time.Time
	exitCode       int
	failureReason  string
	environmentKey string
	artifacts      []byte
}

// Outcome is what became of a job.
type Outcome struct {
	State         State
	ExitCode      int
	FailureReason string
	Trace         string
	// EnvironmentKey names the machine that the job left behind.
	EnvironmentKey string
}

// Await returns once the job is done.
func (j *Job) Await(ctx context.Context) (Outcome, error) {
	err := j.server.await(ctx, func() bool { return j.state != pending && j.state != running })
	if err != nil {
		return Outcome{}, fmt.Errorf("waiting for job %d, %s: %w; its trace so far:\n%s", j.ID, j.Name, err, j.Trace())
	}
	j.server.mu.Lock()
	defer j.server.mu.Unlock()
	return Outcome{j.state, j.exitCode, j.failureReason, string(j.trace), j.environmentKey}, nil
}

// AwaitTrace returns once the trace holds a text.
func (j *Job) AwaitTrace(ctx context.Context, text string) error {
	err := j.server.await(ctx, func() bool { return bytes.Contains(j.trace, []byte(text)) })
	if err != nil {
		return fmt.Errorf("waiting for %q in the trace of job %d, %s: %w; its trace so far:\n%s", text, j.ID, j.Name,
			err, j.Trace())
	}
	return nil
}

// Trace is what the job has printed so far.
func (j *Job) Trace() string {
	j.server.mu.Lock()
	defer j.server.mu.Unlock()
	return string(j.trace)
}

// Began is when a runner took the job.
func (j *Job) Began() time.Time {
	j.server.mu.Lock()
	defer j.server.mu.Unlock()
	return j.began
}

// Cancel does what the button on the job's page does. The runner learns it with
// the next answer to what it sends.
func (j *Job) Cancel() {
	j.server.mu.Lock()
	defer j.server.mu.Unlock()
	j.state = Canceled
	j.server.tell()
}

// steps are the job's scripts in GitLab's words.
func (j *Job) steps() []any {
	step := func(name string, script []string, when string) any {
		return map[string]any{"name": name, "script": script, "timeout": 3600, "when": when}
	}
	steps := []any{step("script", j.Script, "on_success")}
	if len(j.AfterScript) > 0 {
		steps = append(steps, step("after_script", j.AfterScript, "always"))
	}
	return steps
}

// payload is the job in GitLab's words. The caller holds the lock.
func (j *Job) payload() map[string]any {
	variables := []map[string]any{}
	set := func(key, value string) {
		variables = append(variables, map[string]any{"key": key, "value": value, "public": true, "masked": false})
	}
	set("CI_JOB_ID", fmt.Sprint(j.ID))
	set("CI_PROJECT_PATH", "group/project")
	set("CI_SERVER_URL", j.server.url)
	if !j.Git {
		set("GIT_STRATEGY", "none")
	}
	if j.Timestamps {
		set(timestamps, "true")
	}
	for key, value := range j.Variables {
		set(key, value)
	}
	payload := map[string]any{
		"id": j.ID, "token": j.token, "allow_git_fetch": true,
		"job_info": map[string]any{
			"id": j.ID, "name": j.Name, "stage": "test", "project_id": 1, "project_name": "project",
		},
		"git_info":    j.server.gitInfo(j),
		"runner_info": map[string]any{"timeout": 3600},
		"variables":   variables,
		"steps":       j.steps(),
		"image":       map[string]any{"name": j.Image},
		"features": map[string]any{"trace_sections": true, "failure_reasons": []string{
			"script_failure", "runner_system_failure", "runner_interrupted", "job_canceled",
		}},
		"suspend_options": map[string]any{
			"suspend_on_success": j.Suspend, "runtime_environment_key": j.Resume,
		},
	}
	if len(j.Artifacts) > 0 {
		payload["artifacts"] = []any{map[string]any{
			"name": "artifacts", "paths": j.Artifacts, "when": "on_success",
			"artifact_type": "archive", "artifact_format": "zip",
		}}
	}
	if j.From != nil {
		payload["dependencies"] = []any{map[string]any{
			"id": j.From.ID, "token": j.From.token, "name": j.From.Name,
			"artifacts_file": map[string]any{"filename": "artifacts.zip", "size": len(j.From.artifacts)},
		}}
	}
	return payload
}
