package migrate

import (
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// inPlaceOfCustom makes an entry of the custom executor one of the executor instance,
// with a pool in place of the programs that it had started.
func inPlaceOfCustom(e *editor, entry tomlfile.Table, user string, workers int64, plugged []line) {
	e.replace(entry.At("executor"), line{"", `executor = "instance"`})
	const builds = "jobs are built in the home of their user, in a worker of their own"
	e.replace(entry.At("builds_dir"), line{remark: builds})
	const cache = "a directory in the worker is gone with it: set [runners.cache] for a cache between jobs"
	e.replace(entry.At("cache_dir"), line{remark: cache})
	e.remove(entry.At("custom"), "workers are made by the plugin, and nothing is started for each job")
	e.add(entry.Path, pool(user, workers, append([]line{{remark: jobImage}}, plugged...)))
	e.workers += workers
}

// atOnce is how many jobs an entry ran at once.
func (e *editor) atOnce(entry tomlfile.Table) int64 {
	n := max(1, e.file.Top().Number("concurrent", 1))
	if limit := entry.Number("limit", 0); limit > 0 {
		n = min(n, limit)
	}
	return n
}

// option is one of a program's arguments.
type option struct{ name, value string }

// options reads a list of arguments, in which a name and its value may be one argument,
// with a blank or = between, or two. What stands before the first name is left out.
func options(arguments []string) (all []option) {
	for _, word := range strings.Fields(strings.ReplaceAll(strings.Join(arguments, " "), "=", " ")) {
		switch {
		case strings.HasPrefix(word, "-"):
			all = append(all, option{name: word})
		case len(all) > 0 && all[len(all)-1].value == "":
			all[len(all)-1].value = word
		}
	}
	return all
}

// environment are the variables of an entry whose names begin with one of the prefixes.
func environment(entry tomlfile.Table, prefixes ...string) (all []option) {
	for _, text := range entry.Texts("environment") {
		name, value, _ := strings.Cut(text, "=")
		for _, prefix := range prefixes {
			if short, ok := strings.CutPrefix(name, prefix); ok {
				all = append(all, option{short, value})
			}
		}
	}
	return all
}
