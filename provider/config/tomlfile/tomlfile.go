// Package tomlfile reads a TOML file together with the lines on which its keys
// stand, for messages about the file and for changes to it. What the values mean
// does not live here.
package tomlfile

import (
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// File is what a TOML file holds.
type File struct {
	// Values are the tables, lists, strings and numbers of the file.
	Values map[string]any

	spans map[string]Span
}

// Span is the lines of something in a file, from 1 on.
type Span struct{ First, Last int }

// Parse reads a file. Its error is go-toml's.
func Parse(data []byte) (File, error) {
	f := File{spans: make(map[string]Span)}
	if err := toml.Unmarshal(data, &f.Values); err != nil {
		return File{}, err
	}
	r := reader{spans: f.spans, lists: make(map[string]int)}
	for at, b := range data {
		if b == '\n' {
			r.ends = append(r.ends, at)
		}
	}
	r.parser.Reset(data)
	for r.parser.NextExpression() {
		r.read(r.parser.Expression())
	}
	return f, r.parser.Error()
}

// Span is where the key with a path stands: its whole line or lines, and for a table
// the line of its header. A path is written as Join and At write it.
func (f File) Span(path string) (Span, bool) {
	span, ok := f.spans[path]
	return span, ok
}

// Whole is from the first to the last line of everything that is in a table.
func (f File) Whole(table string) Span {
	whole := f.spans[table]
	for path, span := range f.spans {
		if strings.HasPrefix(path, table+".") {
			whole.Last = max(whole.Last, span.Last)
		}
	}
	return whole
}

// Line is the line of a path, or else of the nearest that it is in, or else 1.
func (f File) Line(path string) int {
	for path != "" {
		if span, ok := f.spans[path]; ok {
			return span.First
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return 1
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// Join is the path of a key in a table, or at the top if that has no path. It is
// written as TOML writes it, so that it never holds a line break.
func Join(table, key string) string {
	if !bareKey.MatchString(key) {
		key = strconv.Quote(key)
	}
	if table == "" {
		return key
	}
	return table + "." + key
}

// At is the path of an element of a list.
func At(list string, index int) string { return fmt.Sprintf("%s[%d]", list, index) }

// longest is how long a path is noted; of what is deeper, the table around it is. A
// file of half a megabyte may have paths of as much, for every few of its bytes.
const longest = 256

// reader notes where everything stands.
type reader struct {
	parser unstable.Parser
	ends   []int // of lines, as offsets
	spans  map[string]Span
	// table is the one whose header came last.
	table string
	// lists are how many headers each list of tables has had.
	lists map[string]int
}

func (r *reader) read(node *unstable.Node) {
	switch node.Kind {
	case unstable.Table, unstable.ArrayTable:
		r.table = r.header(node)
	case unstable.KeyValue:
		r.keyValue(r.table, node)
	}
}

// header finds the table that a header begins. A name of a list of tables stands
// there for its last element so far.
func (r *reader) header(node *unstable.Node) string {
	path, keys := "", node.Key()
	for keys.Next() && len(path) < longest {
		path = Join(path, string(keys.Node().Data))
		line := r.line(keys.Node().Raw.Offset)
		if _, known := r.spans[path]; !known {
			r.spans[path] = Span{line, line}
		}
		if keys.IsLast() && node.Kind == unstable.ArrayTable {
			r.lists[path]++
		}
		if n := r.lists[path]; n > 0 {
			path = At(path, n-1)
		}
		if keys.IsLast() { // a table's own header says better where it is than one of a table inside
			r.spans[path] = Span{line, line}
		}
	}
	return path
}

func (r *reader) keyValue(table string, node *unstable.Node) {
	lines := Span{
		r.line(node.Raw.Offset), r.line(node.Raw.Offset + node.Raw.Length - 1),
	}
	for keys := node.Key(); keys.Next() && len(table) < longest; {
		table = Join(table, string(keys.Node().Data))
		if _, known := r.spans[table]; !known {
			r.spans[table] = lines
		}
	}
	r.value(table, node.Value())
}

// value notes what is inside a value. A list's element has the line of its first word.
func (r *reader) value(path string, node *unstable.Node) {
	if len(path) >= longest {
		return
	}
	switch node.Kind {
	case unstable.InlineTable:
		for keys := node.Children(); keys.Next(); {
			if keys.Node().Kind == unstable.KeyValue {
				r.keyValue(path, keys.Node())
			}
		}
	case unstable.Array:
		n := 0
		for elements := node.Children(); elements.Next(); {
			element := elements.Node()
			if element.Kind == unstable.Comment {
				continue
			}
			if element.Raw.Length > 0 {
				line := r.line(element.Raw.Offset)
				r.spans[At(path, n)] = Span{line, line}
			}
			r.value(At(path, n), element)
			n++
		}
	}
}

func (r *reader) line(offset uint32) int { return 1 + sort.SearchInts(r.ends, int(offset)) }
