package migrate

import (
	"fmt"
	"slices"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// editor changes a file by its lines.
type editor struct {
	file  tomlfile.File
	lines []string
	// instead are what stands in the place of lines, by number; before and after are
	// what comes beside them.
	instead, before, after map[int][]string
	workers                int64
	// crowded are lines on which there is more than one key.
	crowded []int
}

func newEditor(text string, file tomlfile.File) *editor {
	return &editor{
		file: file, lines: strings.Split(strings.TrimSuffix(text, "\n"), "\n"),
		instead: make(map[int][]string), before: make(map[int][]string), after: make(map[int][]string),
	}
}

// write makes lines of the file, indented as one of its own is.
func write(indent string, lines []line) (out []string) {
	for _, l := range lines {
		own := indent + l.text[:len(l.text)-len(strings.TrimLeft(l.text, " "))]
		if l.remark != "" {
			out = append(out, own+"# mayfly: "+strings.Join(strings.Fields(l.remark), " "))
		}
		if strings.TrimSpace(l.text) != "" {
			out = append(out, strings.Split(indent+l.text, "\n")...)
		}
	}
	return out
}

func (e *editor) indent(number int) string {
	text := e.lines[number-1]
	return text[:len(text)-len(strings.TrimLeft(text, " \t"))]
}

// was quotes lines of the file in a remark.
func (e *editor) was(span tomlfile.Span) (out []string) {
	for _, text := range e.lines[span.First-1 : span.Last] {
		out = append(out, e.indent(span.First)+"# mayfly: was: "+strings.TrimSpace(text))
	}
	return out
}

// text is what a key's lines have, without their indent.
func (e *editor) text(path string) string {
	span, _ := e.file.Span(path)
	return strings.TrimSpace(strings.Join(e.lines[span.First-1:span.Last], "\n"))
}

// replace puts lines in the place of a key, which a remark quotes. Without lines, only
// the remark is left.
func (e *editor) replace(path string, lines ...line) {
	span, ok := e.file.Span(path)
	if !ok {
		return
	}
	table, inside := e.file.Span(path[:max(0, strings.LastIndexByte(path, '.'))])
	if inside && table.Last >= span.First {
		e.crowded = append(e.crowded, span.First)
	}
	for number := span.First; number <= span.Last; number++ {
		e.instead[number] = []string{}
	}
	e.instead[span.First] = append(e.was(span), write(e.indent(span.First), lines)...)
}

// insert puts lines behind the header of a table.
func (e *editor) insert(table string, lines ...line) {
	span, ok := e.file.Span(table)
	if !ok || len(lines) == 0 {
		return
	}
	e.needHeader(span.First)
	e.after[span.First] = append(e.after[span.First], write(e.indent(span.First)+"  ", lines)...)
}

// needHeader notes a table that has no line of its own, behind which lines can be put.
func (e *editor) needHeader(number int) {
	if !strings.HasPrefix(strings.TrimSpace(e.lines[number-1]), "[") {
		e.crowded = append(e.crowded, number)
	}
}

// remove leaves of a table, with all that is in it, a remark for each line.
func (e *editor) remove(table, why string) {
	if _, ok := e.file.Span(table); !ok {
		return
	}
	span := e.file.Whole(table)
	e.before[span.First] = write(e.indent(span.First), []line{{remark: why}})
	for number := span.First; number <= span.Last; number++ {
		if strings.TrimSpace(e.lines[number-1]) != "" {
			e.instead[number] = e.was(tomlfile.Span{First: number, Last: number})
		}
	}
}

// add puts lines behind all that an entry has.
func (e *editor) add(entry string, lines []line) {
	span := e.file.Whole(entry)
	e.needHeader(span.First)
	e.after[span.Last] = append(e.after[span.Last], write(e.indent(span.First)+"  ", lines)...)
}

// concurrent lets the runner take as many jobs as there are workers.
func (e *editor) concurrent() {
	has, _ := e.file.Values["concurrent"].(int64)
	if max(1, has) >= e.workers {
		return
	}
	enough := line{added + "by default the runner takes one job", fmt.Sprintf("concurrent = %d", e.workers)}
	if has > 0 {
		enough.remark = "as many jobs as there are workers"
		e.replace("concurrent", enough)
		return
	}
	e.before[1] = append(write("", []line{enough}), e.before[1]...)
}

// result is the changed file. What shares its line with other keys cannot be changed alone.
func (e *editor) result() (string, error) {
	if len(e.crowded) > 0 {
		return "", fmt.Errorf("line %d: write each key on a line of its own, below the header of its table",
			slices.Min(e.crowded))
	}
	var out []string
	for i, text := range e.lines {
		number := i + 1
		out = append(out, e.before[number]...)
		if instead, changed := e.instead[number]; changed {
			out = append(out, instead...)
		} else {
			out = append(out, text)
		}
		out = append(out, e.after[number]...)
	}
	return strings.Join(out, "\n") + "\n", nil
}
