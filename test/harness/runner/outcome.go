package runner

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
)

// Outcome is the document that `try --json` prints.
type Outcome struct {
	Backend      string `json:"backend"`
	Acceleration string `json:"acceleration"`
	Image        struct {
		Digest       string  `json:"digest"`
		BuiltSeconds float64 `json:"built_seconds"`
	} `json:"image"`
	Jobs     []Job    `json:"jobs"`
	LeftOver []string `json:"left_over"`
}

// Job is one job in it.
type Job struct {
	Worker       string  `json:"worker"`
	How          string  `json:"how"`
	ReadySeconds float64 `json:"ready_seconds"`
	ExitCode     int     `json:"exit_code"`
	Stdout       string  `json:"stdout"`
	Stderr       string  `json:"stderr"`
}

// ParseOutcome reads the document. One that is not exactly of this shape, with
// all names and no others, is an error.
func ParseOutcome(text []byte) (Outcome, error) {
	var outcome Outcome
	if err := json.Unmarshal(text, &outcome); err != nil {
		return Outcome{}, err
	}
	again, err := json.Marshal(outcome)
	if err != nil {
		return Outcome{}, err
	}
	var said, understood any
	if err := json.Unmarshal(text, &said); err != nil {
		return Outcome{}, err
	}
	if err := json.Unmarshal(again, &understood); err != nil {
		return Outcome{}, err
	}
	if !reflect.DeepEqual(said, understood) || outcome.Jobs == nil || outcome.LeftOver == nil {
		return Outcome{}, fmt.Errorf("%s\nis not of the shape of\n%s", bytes.TrimSpace(text), again)
	}
	return outcome, nil
}
