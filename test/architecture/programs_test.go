package architecture

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"strconv"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// naming are the functions that are given names of programs, by package and
// name: which arguments these are, from the first to the last. Fields of
// structures are naming, too.
var naming = map[string]struct{ first, last int }{
	"os/exec.Command":                               {0, 0},
	"os/exec.CommandContext":                        {1, 1},
	module + "/doctor.FindProgram":                  {0, 0},
	module + "/programs.Find":                       {0, 0},
	module + "/programs.Remedy":                     {0, 0},
	module + "/test/harness/need.Programs":          {1, many},
	module + "/test/harness/sandbox.Need":           {1, many},
	module + "/test/harness/sandbox.EmptyNamespace": {1, many},
	module + "/backend/process.Command{Path}":       {},
}

const many = 1 << 10

// unlistedPrograms returns every place that looks a program up elsewhere than
// in package programs, and every name of a program that is not in its table. A
// name that is put together, or kept in a variable, is for Find to refuse when
// the place is reached.
func unlistedPrograms(files []file) []string {
	var bad []string
	for _, f := range files {
		positions := token.NewFileSet()
		syntax, err := parser.ParseFile(positions, f.path, f.text, 0)
		if err != nil {
			bad = append(bad, err.Error())
			continue
		}
		imported := importNames(syntax)
		complain := func(at ast.Node, format string, args ...any) {
			line := positions.Position(at.Pos()).Line
			bad = append(bad, fmt.Sprintf("%s:%d ", f.path, line)+fmt.Sprintf(format, args...))
		}
		ast.Inspect(syntax, func(n ast.Node) bool {
			if qualified(n, imported) == "os/exec.LookPath" && f.dir() != "programs" {
				complain(n, "looks a program up by exec.LookPath: programs.Find does that, and knows its package")
			}
			for _, name := range namedPrograms(n, imported) {
				if !programs.Listed(name) && !strings.Contains(name, "/") {
					complain(n, "names the program %q, which is not in the table of package programs: add it there, with its package", name)
				}
			}
			return true
		})
	}
	return bad
}

// namedPrograms returns the literals that name programs in a call or a
// structure.
func namedPrograms(n ast.Node, imported map[string]string) []string {
	var literals []ast.Expr
	switch n := n.(type) {
	case *ast.CallExpr:
		if where, ok := naming[qualified(n.Fun, imported)]; ok && len(n.Args) > where.first {
			literals = n.Args[where.first:min(where.last+1, len(n.Args))]
		}
	case *ast.CompositeLit:
		for _, element := range n.Elts {
			pair, ok := element.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			key, _ := pair.Key.(*ast.Ident)
			if _, ok := naming[fmt.Sprintf("%s{%s}", qualified(n.Type, imported), key)]; ok {
				literals = append(literals, pair.Value)
			}
		}
	}
	var names []string
	for _, expression := range literals {
		literal, ok := expression.(*ast.BasicLit)
		if !ok {
			continue
		}
		if name, err := strconv.Unquote(literal.Value); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// qualified is the import path and the name of what a selector selects from a
// package, such as "os/exec.Command", or empty.
func qualified(n ast.Node, imported map[string]string) string {
	selector, ok := n.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if of, ok := selector.X.(*ast.Ident); ok && imported[of.Name] != "" {
		return imported[of.Name] + "." + selector.Sel.Name
	}
	return ""
}

// importNames are the import paths by the names that a file has for them.
func importNames(syntax *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range syntax.Imports {
		imported := importPath(spec)
		name := path.Base(imported)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = imported
	}
	return names
}
