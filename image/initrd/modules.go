package initrd

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// want is a module that an initrd should hold.
type want struct {
	name     string
	optional bool // a kernel without it still boots
}

// modules is what depmod wrote down about the modules of one kernel.
type modules struct {
	paths   map[string]string   // module name -> path below their directory
	needs   map[string][]string // path -> paths, in the order of modules.dep
	builtin map[string]bool     // module name
}

// Files of depmod, in the directory of the modules.
const (
	dependencies = "modules.dep"
	builtins     = "modules.builtin"
)

func readModules(root fs.FS, dir string) (modules, error) {
	dep, err := fs.ReadFile(root, dir+"/"+dependencies)
	if err != nil {
		return modules{}, fmt.Errorf("reading what modules need: %w", err)
	}
	builtin, err := fs.ReadFile(root, dir+"/"+builtins)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return modules{}, fmt.Errorf("reading what is built in: %w", err)
	}
	return parseModules(string(dep), string(builtin)), nil
}

func parseModules(dep, builtin string) modules {
	m := modules{paths: map[string]string{}, needs: map[string][]string{}, builtin: map[string]bool{}}
	for line := range strings.Lines(dep) {
		module, needs, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		m.paths[moduleName(module)] = module
		m.needs[module] = strings.Fields(needs)
	}
	for line := range strings.Lines(builtin) {
		m.builtin[moduleName(strings.TrimSpace(line))] = true
	}
	return m
}

// resolve returns the paths of the wanted modules and of all that they need,
// in an order in which they load.
func (m modules) resolve(wanted []want) ([]string, error) {
	var order []string
	visited := map[string]bool{}
	for _, w := range wanted {
		path, found := m.paths[moduleName(w.name)]
		if !found && (w.optional || m.builtin[moduleName(w.name)]) {
			continue
		}
		if !found {
			return nil, fmt.Errorf("%s is neither a module nor built in", w.name)
		}
		order = m.visit(path, visited, order)
	}
	return order, nil
}

// visit appends path after what it needs. depmod lists last what must be loaded
// first, so its list is walked backward.
func (m modules) visit(path string, visited map[string]bool, order []string) []string {
	if visited[path] {
		return order
	}
	visited[path] = true
	for _, need := range slices.Backward(m.needs[path]) {
		order = m.visit(need, visited, order)
	}
	return append(order, path)
}

// moduleName is the kernel's name of the module in a file: without the extensions,
// and with underscores for dashes, which are the same to the kernel.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// maxModule is how many bytes a module may unpack to. The largest that is wanted has
// some million.
const maxModule = 64 << 20

// readModule reads a module and unpacks it as its name says.
func readModule(root fs.FS, name string) ([]byte, error) {
	file, err := root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading module: %w", err)
	}
	defer file.Close()
	plain, err := decompress(path.Ext(name), file)
	if err != nil {
		return nil, fmt.Errorf("unpacking module %s: %w", name, err)
	}
	content, err := io.ReadAll(io.LimitReader(plain, maxModule+1))
	if err == nil && len(content) > maxModule {
		err = fmt.Errorf("it has more than %d bytes", maxModule)
	}
	if err != nil {
		return nil, fmt.Errorf("unpacking module %s: %w", name, err)
	}
	return content, nil
}

func decompress(extension string, from io.Reader) (io.Reader, error) {
	switch extension {
	case ".ko":
		return from, nil
	case ".gz":
		return gzip.NewReader(from)
	case ".xz":
		return xz.NewReader(from)
	case ".zst":
		// With a concurrency of one it decodes in ReadAll, and need not be closed.
		return zstd.NewReader(from, zstd.WithDecoderConcurrency(1))
	}
	return nil, fmt.Errorf("unknown compression %q", extension)
}
