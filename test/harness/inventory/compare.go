package inventory

import (
	"fmt"
	"slices"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

// Kind is a kind of things.
type Kind string

// The kinds of things that Mayfly has on a host.
const (
	Process      Kind = "process"
	Namespace    Kind = "network namespace"
	Link         Kind = "link"
	Table        Kind = "nftables table"
	Mount        Kind = "mount"
	ControlGroup Kind = "control group"
	LoopDevice   Kind = "loop device"
	Forwarding   Kind = "note of forwarding"
	Temporary    Kind = "temporary file"
	Address      Kind = "address"
	User         Kind = "user"
	Reservation  Kind = "part of the budget"
	Ticket       Kind = "place in the queue for the budget"
	Directory    Kind = "worker directory"
	Record       Kind = "record"
	PoolFile     Kind = "file of a pool"
	Template     Kind = "template"
	End          Kind = "note of an end"
	Console      Kind = "console of an end"
	Unknown      Kind = "file that nobody knows"
)

// Owner is whom a thing belongs to. The empty one is nobody.
type Owner string

// Everyone has what all pools of a host share for as long as they are open.
const Everyone Owner = "everyone"

// Worker is the worker whose id, or name in the kernel, ends in this. Kernel names
// have room for a worker's key only, which is random enough to stand for the id.
func Worker(name string) Owner {
	return Owner("worker " + name[max(0, len(name)-workerid.KeyLength):])
}

// Pool is a pool, by its name.
func Pool(name string) Owner { return Owner("pool " + name) }

// Plugin is a plugin process.
func Plugin(pid int) Owner { return Owner(fmt.Sprintf("plugin process %d", pid)) }

// Thing is one thing on the host.
type Thing struct {
	Kind Kind
	// Name is what the kernel calls it, or its path, or for a process its arguments.
	Name  string
	Owner Owner
}

func (t Thing) String() string {
	if t.Owner == "" {
		return fmt.Sprintf("%s %s, of nobody", t.Kind, t.Name)
	}
	return fmt.Sprintf("%s %s, of %s", t.Kind, t.Name, t.Owner)
}

// Belongings are the kinds of things that somebody has.
type Belongings struct {
	// Must are those of which there is one at least, May those that may be there
	// besides.
	Must, May []Kind
}

// most is how many things of a kind anybody has, where that is bounded.
var most = map[Kind]int{End: 10, Console: 10}

// Compare returns what is wrong with a host on which these things are, and these
// owners and nobody else: each thing that does not belong to one of them, each thing
// that one of them lacks, and what one of them has too many of.
func Compare(things []Thing, owners map[Owner]Belongings) (wrong []string) {
	has := make(map[Owner]map[Kind]int)
	for _, thing := range things {
		belongings, lives := owners[thing.Owner]
		if !lives || !slices.Contains(belongings.Must, thing.Kind) && !slices.Contains(belongings.May, thing.Kind) {
			wrong = append(wrong, "orphan: "+thing.String())
			continue
		}
		if has[thing.Owner] == nil {
			has[thing.Owner] = make(map[Kind]int)
		}
		has[thing.Owner][thing.Kind]++
	}
	for owner, belongings := range owners {
		for kind, limit := range most {
			if n := has[owner][kind]; n > limit {
				wrong = append(wrong, fmt.Sprintf("too many: %d times %s of %s, and not %d at most",
					n, kind, owner, limit))
			}
		}
		for _, kind := range belongings.Must {
			if has[owner][kind] == 0 {
				wrong = append(wrong, fmt.Sprintf("missing: %s of %s", kind, owner))
			}
		}
	}
	slices.SortFunc(wrong, strings.Compare)
	return wrong
}
