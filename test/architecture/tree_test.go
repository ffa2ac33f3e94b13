package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "gitlab.com/mayfly-ci/fleeting-plugin-mayfly"

// top is the root of the repository, seen from this folder.
const top = "../.."

// file is a Go file, as much of it as the checks look at.
type file struct {
	path    string // from the root of the repository, with slashes
	name    string // of the package
	doc     string // the package comment, if it is in this file
	imports []string
	// aliases are the names that the file gives to what it imports.
	aliases map[string]string
	text    string
	test    bool
}

// readTree reads all Go files of the repository. It reads files, not what
// `go list` says, to see those of every system at once.
func readTree(t *testing.T) []file {
	t.Helper()
	var files []file
	err := fs.WalkDir(os.DirFS(top), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if path != "." && ignored(entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || ignored(entry.Name()) {
			return nil
		}
		f, err := readFile(path)
		files = append(files, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// ignored says what the go command ignores too.
func ignored(name string) bool {
	return name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
}

func readFile(path string) (file, error) {
	text, err := os.ReadFile(filepath.Join(top, filepath.FromSlash(path)))
	if err != nil {
		return file{}, err
	}
	return parseFile(path, string(text))
}

func parseFile(path, text string) (file, error) {
	syntax, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return file{}, err
	}
	f := file{
		path: path,
		name: syntax.Name.Name,
		doc:  syntax.Doc.Text(),
		text: text,
		test: strings.HasSuffix(path, "_test.go"),

		aliases: map[string]string{},
	}
	for _, spec := range syntax.Imports {
		f.imports = append(f.imports, importPath(spec))
		if spec.Name != nil {
			f.aliases[spec.Name.Name] = importPath(spec)
		}
	}
	return f, nil
}

func importPath(spec *ast.ImportSpec) string {
	path, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		panic(err) // the parser accepts no such thing
	}
	return path
}
