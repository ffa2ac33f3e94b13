package image

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
)

// five is a recipe of five steps.
var five = Recipe{
	Source: Source{Kind: Debootstrap, Suite: "bookworm"}, User: "mayfly", Disk: 1 << 30, Packages: []string{"make"},
	PresetRun: []string{"one", "two"}, Run: []string{"three", "four", "five"},
	AgentSHA256: "a", GitLabRunnerSHA256: "b",
}

// TestLayersAreSharedUpToTheFirstDifference has, for each change, how many of the six
// states of the recipe stay the same.
func TestLayersAreSharedUpToTheFirstDifference(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Recipe)
		shared int
	}{
		"nothing":    {func(*Recipe) {}, 6},
		"the agent":  {func(r *Recipe) { r.AgentSHA256 = "x" }, 6},
		"the runner": {func(r *Recipe) { r.GitLabRunnerSHA256 = "x" }, 6},
		"how it is built": {func(r *Recipe) {
			r.CPUs, r.Memory, r.FromScratch, r.KeepFailed = 3, 4, true, true
		}, 6},
		"from where": {func(r *Recipe) {
			r.Agent, r.GitLabRunner, r.Source.Mirror = "/a", "/b", "https://c"
		}, 6},
		"which setting says it": {func(r *Recipe) {
			r.PresetRun, r.Run = nil, []string{"one", "two", "three", "four", "five"}
		}, 6},
		"the last step":      {func(r *Recipe) { r.Run = []string{"three", "four", "other"} }, 5},
		"a step less":        {func(r *Recipe) { r.Run = r.Run[:2] }, 5},
		"a step more":        {func(r *Recipe) { r.Run = append(slices.Clone(r.Run), "six") }, 6},
		"the order of steps": {func(r *Recipe) { r.Run = []string{"four", "three", "five"} }, 3},
		"two steps in one":   {func(r *Recipe) { r.Run = []string{"threefour", "five"} }, 3},
		"the first step":     {func(r *Recipe) { r.PresetRun = []string{"other", "two"} }, 1},
		"a package":          {func(r *Recipe) { r.Packages = []string{"make", "gcc"} }, 0},
		"the suite":          {func(r *Recipe) { r.Source.Suite = "trixie" }, 0},
		"the user":           {func(r *Recipe) { r.User = "ci" }, 0},
		"the size":           {func(r *Recipe) { r.Disk = 2 << 30 }, 0},
		"the form":           {func(r *Recipe) { r.Form = ShiftedTree }, 0},
		"no runner":          {func(r *Recipe) { r.GitLabRunnerSHA256 = "" }, 0},
	} {
		changed := five
		c.change(&changed)
		ours, theirs := five.Layers("i"), changed.Layers("i")
		if len(ours) != 6 || len(theirs) != len(changed.Parts()) {
			t.Fatalf("%s: %d and %d layers", name, len(ours), len(theirs))
		}
		shared := 0
		for shared < min(len(ours), len(theirs)) && ours[shared] == theirs[shared] {
			shared++
		}
		if shared != c.shared {
			t.Errorf("%s: %d layers are shared, want %d", name, shared, c.shared)
		}
		for i := shared; i < len(theirs); i++ {
			if slices.Contains(ours, theirs[i]) {
				t.Errorf("%s: layer %d is another of the recipe's", name, i)
			}
		}
	}
	if five.Layers("i")[0] == five.Layers("j")[0] {
		t.Error("other ingredients make the same base")
	}
}

// A field that is added to the recipe must be in the key of the base, unless it is
// known not to change what is built.
func TestEveryFieldOfARecipeIsInTheKeyOfItsBase(t *testing.T) {
	apart := []string{"PresetRun", "Run", "Agent", "GitLabRunner", "AgentSHA256", "GitLabRunnerSHA256",
		"CPUs", "Memory", "GivesWay", "FromScratch", "Replace", "KeepFailed", "CertificateFiles"}
	base := Recipe{GitLabRunnerSHA256: "b"}.Layers("")[0]
	for i := range reflect.TypeFor[Recipe]().NumField() {
		name := reflect.TypeFor[Recipe]().Field(i).Name
		changed := Recipe{GitLabRunnerSHA256: "b"}
		fill(reflect.ValueOf(&changed).Elem().Field(i))
		if differs := changed.Layers("")[0] != base; differs == slices.Contains(apart, name) {
			t.Errorf("%s: the key of the base differs: %v", name, differs)
		}
	}
}

// fill gives a value another than its zero value.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Struct:
		fill(v.Field(0))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	default:
		panic(fmt.Sprintf("no value of %s is known here", v.Type()))
	}
}

func TestUpToIsTheRecipeOfAState(t *testing.T) {
	keys := five.Layers("i")
	for n := range keys {
		up := five.UpTo(n)
		if len(up.Parts()) != n+1 || up.Layers("i")[n] != keys[n] {
			t.Errorf("up to %d: %v, %v", n, up.PresetRun, up.Run)
		}
		_ = append(up.Run, "more")
	}
	if !slices.Equal(five.Run, []string{"three", "four", "five"}) {
		t.Error("the recipe itself was changed")
	}
	if got := five.Parts()[4]; got.Name != "image.run[1]" || got.Command != "four" {
		t.Errorf("got %+v", got)
	}
}
