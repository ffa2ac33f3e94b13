package prebuild

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strings"
)

// hidden stands where a secret was.
const hidden = "[hidden]"

// hide returns the guest with all secrets hidden in what its commands print.
func hide(g Guest, secrets map[string]string) Guest {
	if len(secrets) == 0 {
		return g
	}
	return hiding{g, patterns(secrets)}
}

// hiding is a guest whose output has none of the patterns.
type hiding struct {
	Guest
	patterns []string
}

func (h hiding) Run(ctx context.Context, command string, output io.Writer) error {
	m := newMask(output, h.patterns)
	err := h.Guest.Run(ctx, command, m)
	return cmp.Or(err, m.Flush())
}

// patterns are the values and, of those with several lines, the lines, which programs may
// print with others between them. The longest come first.
func patterns(secrets map[string]string) (all []string) {
	for _, value := range secrets {
		all = append(all, value)
		for line := range strings.Lines(value) {
			if line = strings.TrimSpace(line); len(line) >= leastSecret {
				all = append(all, line)
			}
		}
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	return slices.Compact(all)
}

// mask passes on what is written to it with the patterns hidden. It holds back an end
// that may be the beginning of one.
type mask struct {
	to       io.Writer
	patterns []string
	replacer *strings.Replacer
	pending  string
}

func newMask(to io.Writer, patterns []string) *mask {
	var pairs []string
	for _, pattern := range patterns {
		pairs = append(pairs, pattern, hidden)
	}
	return &mask{to: to, patterns: patterns, replacer: strings.NewReplacer(pairs...)}
}

func (m *mask) Write(p []byte) (int, error) {
	text := m.replacer.Replace(m.pending + string(p))
	safe := len(text) - m.unfinished(text)
	m.pending = text[safe:]
	if _, err := io.WriteString(m.to, text[:safe]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush passes on what was held back.
func (m *mask) Flush() error {
	_, err := io.WriteString(m.to, m.pending)
	m.pending = ""
	return err
}

// unfinished is the length of the longest end of text with which a pattern begins.
func (m *mask) unfinished(text string) int {
	longest := 0
	for _, pattern := range m.patterns {
		for n := min(len(pattern)-1, len(text)); n > longest; n-- {
			if strings.HasPrefix(pattern, text[len(text)-n:]) {
				longest = n
				break
			}
		}
	}
	return longest
}
