package main

import (
	"embed"
	"strconv"
	"strings"
	"text/template"

	"github.com/alecthomas/kong"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// completionScripts are templates of a script for each shell. Libraries that complete for
// kong are older than the kong that is used here.
//
//go:embed completion
var completionScripts embed.FS

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"${enum}."`
}

// Run prints the script.
func (c completionCommand) Run(s *streams, k *kong.Context) error {
	script, err := template.ParseFS(completionScripts, "completion/"+c.Shell+".tmpl")
	if err != nil {
		return err
	}
	return script.Execute(s.out, completion{
		Program: config.PluginName, Function: strings.ReplaceAll(config.PluginName, "-", "_"),
		Places: placesOf(k.Model.Node, ""),
	})
}

// completion is what a script is made of.
type completion struct {
	Program, Function string
	Places            []place
}

// place is a command, and what may follow it.
type place struct {
	// Path is the commands up to it, each after a blank; that of the program is empty.
	Path string
	// Words are commands, flags, and the values of an argument that has few.
	Words string
}

// Patterns are all commands with a path, quoted, for a shell to know how far it is.
func (c completion) Patterns(separator string) string {
	var quoted []string
	for _, p := range c.Places[1:] {
		quoted = append(quoted, strconv.Quote(p.Path))
	}
	return strings.Join(quoted, separator)
}

// placesOf are the node's and those of all commands in it; what is hidden stays so.
func placesOf(node *kong.Node, path string) []place {
	var words []string
	var inside []place
	for _, child := range node.Children {
		if !child.Hidden && child.Type == kong.CommandNode {
			words = append(words, child.Name)
			inside = append(inside, placesOf(child, path+" "+child.Name)...)
		}
	}
	for _, argument := range node.Positional {
		if argument.Enum != "" {
			words = append(words, argument.EnumSlice()...)
		}
	}
	for _, flags := range node.AllFlags(true) {
		for _, flag := range flags {
			words = append(words, "--"+flag.Name)
		}
	}
	return append([]place{{path, strings.Join(words, " ")}}, inside...)
}
