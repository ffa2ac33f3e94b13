package docs

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// pipeline is what .gitlab-ci.yml may have: the keywords of GitLab that we use, all others
// are mistakes. Its other entries are jobs.
type pipeline struct {
	Stages    []string          `yaml:"stages"`
	Default   job               `yaml:"default"`
	Variables map[string]string `yaml:"variables"`
	Workflow  struct {
		Rules []rule `yaml:"rules"`
	} `yaml:"workflow"`
	Jobs map[string]job `yaml:",inline"`
}

type job struct {
	Stage         string            `yaml:"stage"`
	Tags          []string          `yaml:"tags"`
	Interruptible bool              `yaml:"interruptible"`
	Timeout       string            `yaml:"timeout"`
	Variables     map[string]string `yaml:"variables"`
	Rules         []rule            `yaml:"rules"`
	Script        []string          `yaml:"script"`
	Cache         struct {
		Key   any      `yaml:"key"`
		Paths []string `yaml:"paths"`
	} `yaml:"cache"`
	Artifacts struct {
		Paths    []string `yaml:"paths"`
		ExpireIn string   `yaml:"expire_in"`
	} `yaml:"artifacts"`
	Release struct {
		TagName     string `yaml:"tag_name"`
		Description string `yaml:"description"`
	} `yaml:"release"`
}

type rule struct {
	If string `yaml:"if"`
}

// shellPrefix is what may stand before the command of a line: sudo with its options, and
// variables.
var shellPrefix = regexp.MustCompile(`^(sudo( -E)? )?([A-Z_]+=\S+ )*`)

// mistakes are all that is wrong with a pipeline.
func mistakes(t *testing.T, text string) (bad []string) {
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	var p pipeline
	if err := decoder.Decode(&p); err != nil {
		return []string{err.Error()}
	}
	targets, err := makeTargets()
	require.NoError(t, err)
	require.NotEmpty(t, targets)
	if !slices.Contains(p.Default.Tags, "mayfly") {
		bad = append(bad, "default.tags: jobs do not run on Mayfly's workers")
	}
	for name, job := range p.Jobs {
		if !slices.Contains(p.Stages, job.Stage) {
			bad = append(bad, name+": no stage "+job.Stage)
		}
		if len(job.Script) == 0 {
			bad = append(bad, name+": no script")
		}
		for _, line := range job.Script {
			words := strings.Fields(shellPrefix.ReplaceAllString(line, ""))
			switch {
			case len(words) > 1 && words[0] == "make" && slices.Contains(targets, words[1]):
			case len(words) > 2 && words[0] == "go" && words[1] == "tool" && words[2] == "fleeting-artifact":
			default:
				bad = append(bad, name+": "+line+": not a target of the Makefile")
			}
		}
	}
	return bad
}

func TestPipeline(t *testing.T) {
	text, err := os.ReadFile("../../.gitlab-ci.yml")
	require.NoError(t, err)
	require.Empty(t, mistakes(t, string(text)))
	for _, change := range []struct{ from, to, want string }{
		{"make lint", "make lnit", "not a target"},
		{"make lint", "curl example.org", "not a target"},
		{"interruptible:", "interuptible:", "interuptible"},
		{"stage: lint", "stage: lnt", "no stage lnt"},
		{"[mayfly]", "[docker]", "do not run on Mayfly"},
	} {
		require.Contains(t, string(text), change.from)
		found := strings.Join(mistakes(t, strings.Replace(string(text), change.from, change.to, 1)), "\n")
		require.Contains(t, found, change.want)
	}
}
