package main

import (
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/shlex"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/pages"
)

var (
	// ownCommand is a line that runs this program, inline one in the midst of a text.
	ownCommand = regexp.MustCompile(`(?m)^(?:sudo )?(?:bin/)?fleeting-plugin-mayfly (.+)$`)
	inline     = regexp.MustCompile("`fleeting-plugin-mayfly ([a-z][^`]*)`")
	// ends is where the arguments of a command end.
	ends = regexp.MustCompile(`^([|&;<>]|[0-9]?>)`)
)

// TestCommandsOnPagesAreParsed reads every command of ours on every page as the program
// reads its command line.
func TestCommandsOnPagesAreParsed(t *testing.T) {
	found := 0
	check := func(where, command string) {
		found++
		words, err := shlex.Split(command)
		require.NoError(t, err, "%s: %s", where, command)
		for i, word := range words {
			if ends.MatchString(word) {
				words = words[:i]
				break
			}
		}
		if err := parses(words); err != nil {
			t.Errorf("%s: %s: %v", where, command, err)
		}
	}
	for _, block := range pages.Blocks(t, "sh") {
		text := strings.ReplaceAll(block.Text, "\\\n", " ")
		for _, match := range ownCommand.FindAllStringSubmatch(text, -1) {
			check(block.File, match[1])
		}
	}
	for _, page := range pages.All(t) {
		for _, match := range inline.FindAllStringSubmatch(pages.Read(t, page), -1) {
			check(page, strings.Join(strings.Fields(match[1]), " "))
		}
	}
	require.Greater(t, found, 20)
}

func TestCommandsThatAreNoneAreFound(t *testing.T) {
	require.NoError(t, parses([]string{"try", "--jobs", "2", "--", "id; hostname"}))
	for _, words := range [][]string{{"tri"}, {"ps", "--wathc"}, {"try", "--jobs", "none"}, {"bootstrap"}} {
		require.Error(t, parses(words), "%q", words)
	}
}

func parses(words []string) error {
	parser := kong.Must(&commands{}, kong.Name(config.PluginName), kong.Writers(io.Discard, io.Discard),
		kong.Exit(func(int) {}))
	_, err := parser.Parse(words)
	return err
}
