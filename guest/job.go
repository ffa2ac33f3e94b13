package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/lines"
)

// Job is what the processes in a guest say of the job that they work for. It is the
// guest's word: whoever is in there may have written it.
type Job struct {
	ID      int64  `json:"id"`
	Project string `json:"project,omitempty"`
	Name    string `json:"name,omitempty"`
}

// What GitLab Runner has in the environment of all that a job starts, also in containers.
const (
	jobID      = "CI_JOB_ID"
	jobProject = "CI_PROJECT_PATH"
	jobName    = "CI_JOB_NAME"
)

// Bounds of what is read to find a job.
const (
	mostProcesses  = 10_000
	mostEnviron    = 1 << 20 // bytes of one process
	mostOfJobsText = 255     // bytes of a project and of a name, as GitLab bounds them
)

// FindJob returns the job that one of the processes is of, whose files are below proc as
// in proc(5). The first one that says a job counts; false says that none does.
func FindJob(proc string, pids []int) (Job, bool) {
	for _, pid := range pids[:min(len(pids), mostProcesses)] {
		if job, ok := jobOf(environ(proc, pid)); ok {
			return job, true
		}
	}
	return Job{}, false
}

// environ is a process's environment, or nothing: it may have ended, or be the kernel's.
func environ(proc string, pid int) []byte {
	file, err := os.Open(filepath.Join(proc, strconv.Itoa(pid), "environ"))
	if err != nil {
		return nil
	}
	defer file.Close()
	text, _ := io.ReadAll(io.LimitReader(file, mostEnviron)) // what can be read
	return text
}

// jobOf is the job that an environment names, each variable of which ends with a zero.
func jobOf(environ []byte) (Job, bool) {
	if !bytes.Contains(environ, []byte(jobID+"=")) { // that of nearly every process
		return Job{}, false
	}
	var job Job
	for variable := range bytes.SplitSeq(environ, []byte{0}) {
		name, value, _ := strings.Cut(string(variable), "=")
		switch name {
		case jobID:
			job.ID, _ = strconv.ParseInt(value, 10, 64) // 0 is no job
		case jobProject:
			job.Project = shortened(value)
		case jobName:
			job.Name = shortened(value)
		}
	}
	return job, job.validate() == nil
}

// shortened is a text that is valid and within the bounds.
func shortened(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	for len(text) > mostOfJobsText {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text
}

func (j Job) validate() error {
	switch {
	case j.ID <= 0:
		return fmt.Errorf("%d is no job", j.ID)
	case len(j.Project) > mostOfJobsText || len(j.Name) > mostOfJobsText:
		return fmt.Errorf("the project or the name of job %d is longer than %d bytes", j.ID, mostOfJobsText)
	}
	return nil
}

// Encode is the job as the agent sends it.
func (j Job) Encode() ([]byte, error) { return json.Marshal(j) }

// Job asks which job is in the guest; false says that none is seen.
func (c *Client) Job(ctx context.Context) (Job, bool, error) {
	var said lines.Beginning
	if err := c.do(ctx, Request{Op: OpJob}, &said); err != nil {
		return Job{}, false, err
	}
	return decodeJob([]byte(said.String()))
}

// decodeJob reads what an agent has sent; nothing is no job.
func decodeJob(said []byte) (Job, bool, error) {
	if len(said) == 0 {
		return Job{}, false, nil
	}
	var job Job
	if err := decode(said, &job); err != nil {
		return Job{}, false, fmt.Errorf("guest agent: %s: %w", OpJob, err)
	}
	if err := job.validate(); err != nil {
		return Job{}, false, fmt.Errorf("guest agent: %s: %w", OpJob, err)
	}
	return job, true, nil
}
