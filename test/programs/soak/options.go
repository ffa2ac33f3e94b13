//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// options are what the caller decides.
type options struct {
	rounds   int
	seed     uint64
	backends []string
	// churn is how many workers of each backend are made and deleted, in place of
	// the rounds; 0 means rounds.
	churn int
	// plugin is the built program; empty means that it is built.
	plugin string
	// images keeps golden images for the next time; empty means that they are
	// removed in the end.
	images string
	// logFile is a file for all that the plugins log; empty keeps the end of it only.
	logFile string
	// root says that there are namespaces and a file system of our own.
	root bool
}

// leastChurn is enough workers for a look when some of them have come and gone.
const leastChurn = 20

// kinds are the backends that there are pools of.
var kinds = []string{"synthetic", "nspawn", "qemu"}

func parseOptions(arguments []string) (options, error) {
	o := options{root: os.Geteuid() == 0}
	var backends string
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 300, "how many rounds")
	flags.Uint64Var(&o.seed, "seed", 0, "what the random choices follow from; 0 takes the time")
	flags.StringVar(&backends, "backends", strings.Join(kinds, " "), "backends that there are pools of, all at once")
	flags.IntVar(&o.churn, "churn", 0, "make and delete so many workers of each backend instead")
	flags.StringVar(&o.plugin, "plugin", "", "the path of the built plugin; without it, it is built")
	flags.StringVar(&o.images, "images", "",
		"where golden images are kept; without it, a new directory that is removed in the end")
	flags.StringVar(&o.logFile, "log", "", "a file for all that the plugins log; without it, the end is kept for a failure")
	if err := flags.Parse(arguments); err != nil {
		return options{}, err
	}
	if o.rounds < 1 || o.churn != 0 && o.churn < leastChurn || flags.NArg() > 0 {
		return options{}, fmt.Errorf("-rounds %d, -churn %d, %q: at least 1, 0 or at least %d, and nothing else",
			o.rounds, o.churn, flags.Args(), leastChurn)
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano())
	}
	o.backends = strings.Fields(backends)
	for i, name := range o.backends {
		if !slices.Contains(kinds, name) || slices.Contains(o.backends[:i], name) {
			return options{}, fmt.Errorf("-backends %q: each must be another one of %q", backends, kinds)
		}
		if name != "synthetic" && !o.root {
			return options{}, fmt.Errorf("-backends %q: run it as root, which workers with networks need", backends)
		}
	}
	if len(o.backends) == 0 {
		return options{}, errors.New("-backends: name one at least")
	}
	for _, path := range []*string{&o.plugin, &o.images, &o.logFile} {
		if *path == "" {
			continue
		}
		var err error
		if *path, err = filepath.Abs(*path); err != nil {
			return options{}, err
		}
	}
	return o, nil
}
