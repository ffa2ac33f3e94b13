package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/host"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/lint"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/migrate"
)

type configCommands struct {
	Check   checkCommand   `cmd:"" help:"Say what is wrong in a config.toml, and what hurts, with lines."`
	Example exampleCommand `cmd:"" help:"Print a complete config.toml for GitLab Runner."`
	Schema  schemaCommand  `cmd:"" help:"Print the JSON Schema of plugin_config, for editors."`
	Migrate migrateCommand `cmd:"" help:"Print a config.toml of ours, made of another set-up."`
}

type checkCommand struct {
	File path `arg:"" help:"GitLab Runner's config.toml."`
	JSON bool `help:"Print one JSON document."`
}

// Run prints all that is found, and fails when with any of it there would be no workers.
func (c checkCommand) Run(s *streams, h *host.Host) error {
	findings, err := lint.Check(string(c.File), h.SharedMemory)
	if err != nil {
		return err
	}
	if c.JSON {
		err = s.document(append([]lint.Finding{}, findings...))
	} else {
		printFindings(s.out, string(c.File), findings)
	}
	if err == nil && lint.Refused(findings) {
		err = errSilent
	}
	return err
}

func printFindings(out io.Writer, file string, findings []lint.Finding) {
	for _, finding := range findings {
		fmt.Fprintln(out, finding)
	}
	if len(findings) == 0 {
		fmt.Fprintf(out, "%s: nothing is wrong, and nothing hurts\n", file)
	}
}

type exampleCommand struct {
	For string `default:"instance" placeholder:"PURPOSE" help:"What for: instance or docker (${default})."`
}

// Validate is called by the command line's parser.
func (c exampleCommand) Validate() error {
	if all := config.Purposes(); !slices.Contains(all, c.For) {
		return fmt.Errorf("--for: there is no example for %q: write one of %s", c.For, strings.Join(all, ", "))
	}
	return nil
}

// Run prints the example.
func (c exampleCommand) Run(s *streams) error {
	_, err := io.WriteString(s.out, config.Example(c.For))
	return err
}

type migrateCommand struct {
	File path `arg:"" help:"fleetingd's, the Tart executor's or nspawn-runner's config.toml, or vm-bhyve's GUEST.conf."`
}

// Run prints what is made of the file, which stays as it is.
func (c migrateCommand) Run(s *streams) error {
	text, err := config.ReadBounded(string(c.File))
	if err != nil {
		return fmt.Errorf("reading the set-up: %w", err)
	}
	made, err := migrate.Text(string(c.File), string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	_, err = io.WriteString(s.out, made)
	return err
}

type schemaCommand struct{}

// Run prints the schema.
func (schemaCommand) Run(s *streams) error { return s.document(config.Schema()) }
