package main

import (
	"context"
	"fmt"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
)

type doctorCommand struct {
	configuration
	JSON bool `help:"Print one JSON document."`
}

// diagnosis is what doctor says to machines.
type diagnosis struct {
	Backend  string           `json:"backend"`
	Findings []doctor.Finding `json:"findings"`
}

// Run prints every finding, and fails when something is missing.
func (c doctorCommand) Run(ctx context.Context, s *streams, h *host.Host) error {
	settings, _, err := c.load()
	if err != nil {
		return err
	}
	name, findings, err := h.Check(ctx, settings, s.log)
	if err != nil {
		return err
	}
	if c.JSON {
		err = s.document(diagnosis{name, findings})
	} else {
		fmt.Fprintf(s.out, "backend %s\n", name)
		for _, finding := range findings {
			fmt.Fprintln(s.out, finding)
		}
	}
	if err == nil && host.Missing(findings) != nil {
		err = errSilent
	}
	return err
}
