package architecture

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	netlinkPath = "github.com/vishvananda/netlink"
	dumpRoom    = "network/netlinkdump"
)

// dumping finds the functions of package netlink, and the methods of its
// handles, that read a list: a change may interrupt them.
var dumping = regexp.MustCompile(`[a-z]List(Filtered|Execute|$)|Dump|Diag|^ConntrackDelete`)

// bareDumps returns every use of such a function outside the package that
// repeats what was interrupted.
func bareDumps(files []file) []string {
	var bad []string
	for _, f := range files {
		if f.dir() == dumpRoom || !slices.Contains(f.imports, netlinkPath) {
			continue
		}
		positions := token.NewFileSet()
		syntax, err := parser.ParseFile(positions, f.path, f.text, 0)
		if err != nil {
			bad = append(bad, err.Error())
			continue
		}
		ast.Inspect(syntax, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok || !dumping.MatchString(selector.Sel.Name) {
				return true
			}
			if of, ok := selector.X.(*ast.Ident); !ok || of.Name != "netlinkdump" {
				bad = append(bad, fmt.Sprintf("%s: %s may be interrupted: call the one of %s",
					positions.Position(selector.Pos()), selector.Sel.Name, dumpRoom))
			}
			return true
		})
	}
	return bad
}

func TestBareDumps(t *testing.T) {
	cases := []struct {
		path, code string
		bad        bool
	}{
		{path: "network/island/egress.go", code: `var links, _ = netlink.LinkList()`, bad: true},
		{path: "network/island/egress_test.go", code: `func f() { netlink.NeighList(0, 4) }`, bad: true},
		{path: "test/programs/look/main.go", code: `var list = netlink.RouteList`, bad: true},
		{path: "network/island/egress.go", code: `func f(h *netlink.Handle) { h.LinkList() }`, bad: true},
		{path: "network/island/connections.go", code: `func f() { netlink.SocketDiagTCP(2) }`, bad: true},
		{path: "network/island/connections.go", code: `func f() { netlink.ConntrackDeleteFilters(1, 2) }`, bad: true},
		{path: "network/island/egress.go", code: `var links, _ = netlinkdump.LinkList()`},
		{path: "network/island/egress.go", code: `var link, _ = netlink.LinkByName("lo")`},
		{path: "network/netlinkdump/dump.go", code: `var links, _ = netlink.LinkList()`},
	}
	for _, c := range cases {
		t.Run(c.path+" "+c.code, func(t *testing.T) {
			f := source(t, c.path, "package x", "!"+netlinkPath)
			f.text = strings.TrimSpace(f.text) + "\n" + c.code
			if bad := bareDumps([]file{f}); (len(bad) > 0) != c.bad {
				t.Errorf("found %q, want a violation: %v", bad, c.bad)
			}
		})
	}
}
