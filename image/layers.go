package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Step is one part of what an image was made in.
type Step struct {
	// Name is BaseStep, or the setting that the command is from, such as image.run[0].
	Name    string `json:"name"`
	Command string `json:"command,omitempty"`
	// Seconds is what it took, with all that it waited for.
	Seconds float64 `json:"seconds"`
	// Cached says that an earlier build took that time: this one found the outcome in
	// a layer.
	Cached bool `json:"cached,omitempty"`
}

// BaseStep is the name of the first part of every image: its source and packages.
const BaseStep = "base"

// Parts are the steps that an image of the recipe is made in: the base, then each
// command. A build goes through the state after each of them.
func (r Recipe) Parts() []Step {
	parts := []Step{{Name: BaseStep}}
	for _, some := range r.Steps() {
		for i, command := range some.Shell {
			parts = append(parts, Step{Name: fmt.Sprintf("%s[%d]", some.Setting, i), Command: command})
		}
	}
	return parts
}

// Layers are the keys of the states that a build of the recipe goes through, one for
// each of Parts. Builds with equal keys can go on from each other's states.
// Ingredients is what the base is made of besides what the recipe says, such as the
// package sources of this host.
//
// The agent and gitlab-runner are put in anew by each build that goes on from a
// layer, so their bytes are in no key. A field of the recipe is in the key of the base,
// and so in all, unless it is taken out here.
func (r Recipe) Layers(ingredients string) []string {
	base := r
	base.PresetRun, base.Run = nil, nil
	base.AgentSHA256, base.GitLabRunnerSHA256 = "", ""
	keys := []string{digestOf(struct {
		Recipe       Recipe `json:"recipe"`
		GitLabRunner bool   `json:"gitlab_runner"` // which stays where it was put
		Ingredients  string `json:"ingredients"`
	}{base, r.GitLabRunnerSHA256 != "", ingredients})}
	for _, part := range r.Parts()[1:] {
		keys = append(keys, digestOf(struct {
			Below   string `json:"below"`
			Command string `json:"command"`
		}{keys[len(keys)-1], part.Command}))
	}
	return keys
}

// Begin notes that the base of an image is made now, which is called when it is there.
func (m *Manifest) Begin(began time.Time) {
	m.Steps = m.Recipe.Parts()[:1]
	m.Steps[0].Seconds = time.Since(began).Seconds()
	m.BaseAt = began.UTC().Truncate(time.Second)
}

// GoOn takes over what is known of a layer's state.
func (m *Manifest) GoOn(layer Manifest) {
	m.Root, m.BaseAt, m.Layer = layer.Root, layer.BaseAt, layer.Digest
	m.Steps = slices.Clone(layer.Steps)
	for i := range m.Steps {
		m.Steps[i].Cached = true
	}
}

// Found says, for people, which state a layer is, and how old its packages are.
func (m Manifest) Found() string {
	return fmt.Sprintf("going on from %d of the commands, on a base of %s",
		len(m.Steps)-1, m.BaseAt.Local().Format(time.DateTime))
}

// UpTo is the recipe with the first commands only, which makes the state after them.
func (r Recipe) UpTo(commands int) Recipe {
	preset := min(commands, len(r.PresetRun))
	r.PresetRun = slices.Clip(r.PresetRun[:preset])
	r.Run = slices.Clip(r.Run[:commands-preset])
	return r
}

// digestOf names what is made of a value: 32 hexadecimal digits.
func digestOf(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // strings, numbers and lists of them
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}
