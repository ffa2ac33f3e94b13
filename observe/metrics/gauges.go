package metrics

import (
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool"
)

// gauge is a metric that is read from what is known at one moment.
type gauge struct {
	metric
	read func(v observe.View, set func(value float64, labels ...string))
}

// gauges are all of them. One that is not known of a pool is not there.
var gauges = []gauge{
	{metric{"fleeting_provisioner_instances",
		"Workers that the runner knows, by their state as the runner names it.", []string{"pool", "state"}},
		func(v observe.View, set func(float64, ...string)) {
			countStates(v, fleetingStates, observe.Worker.Hidden, set)
		}},
	{metric{"fleeting_provisioner_max_instances",
		"The most workers that the pool may have.", []string{"pool"}},
		eachPool(func(p observe.Pool, set func(float64, ...string)) { known(float64(p.MaxWorkers), set) })},
	{metric{"mayfly_workers",
		"Workers of which anything is left, by their state; spares and canaries too.", []string{"pool", "state"}},
		func(v observe.View, set func(float64, ...string)) {
			countStates(v, states, func(observe.Worker) bool { return false }, set)
		}},
	{metric{"mayfly_workers_in_phase",
		"Workers by the phase that they are in.", []string{"pool", "phase"}},
		eachPool(func(p observe.Pool, set func(float64, ...string)) {
			count := make(map[string]int)
			for _, w := range p.Workers {
				if phase, lasts := w.Phase(); lasts {
					count[phase.Name]++
				}
			}
			for phase, n := range count {
				set(float64(n), phase)
			}
		})},
	{metric{"mayfly_oldest_start_seconds",
		"How long ago the worker was asked for that has waited longest to be ready; 0 where none waits.",
		[]string{"pool"}},
		func(v observe.View, set func(float64, ...string)) {
			for _, p := range v.Pools {
				set(oldestStart(p, v.At).Seconds(), p.Name)
			}
		}},
	{metric{"mayfly_unguarded_workers",
		"Workers that run without some of their firewall rules.", []string{"pool"}},
		eachPool(func(p observe.Pool, set func(float64, ...string)) {
			n := 0
			for _, w := range p.Workers {
				if w.MissingRules != "" {
					n++
				}
			}
			set(float64(n))
		})},
	{metric{"mayfly_image_built_timestamp_seconds",
		"When the image was built that the pool's workers are made from.", []string{"pool", "digest"}},
		eachPool(func(p observe.Pool, set func(float64, ...string)) {
			if !p.Image.BuiltAt.IsZero() {
				set(seconds(p.Image.BuiltAt), p.Image.Digest)
			}
		})},
	{metric{"mayfly_image_size_bytes",
		"How large the files of that image are.", []string{"pool", "digest"}},
		eachPool(func(p observe.Pool, set func(float64, ...string)) {
			known(float64(p.Image.Bytes), set, p.Image.Digest)
		})},
	{metric{"mayfly_image_served_since_timestamp_seconds",
		"When a pool that renews its image began to serve this one. It changes with each renewal.",
		[]string{"pool"}},
		eachPool(func(p observe.Pool, set func(float64, ...string)) {
			if !p.Image.ServedSince.IsZero() {
				set(seconds(p.Image.ServedSince))
			}
		})},
	{metric{"mayfly_image_renewal_failures",
		"How often in a row the image could not be renewed.", []string{"pool"}},
		eachPool(func(p observe.Pool, set func(float64, ...string)) {
			n := 0
			if p.Image.Failed != nil {
				n = p.Image.Failed.Failures
			}
			set(float64(n))
		})},
	{metric{"mayfly_image_spared",
		"1 while the pool starts one worker at a time, since every worker of its image fails.", []string{"pool"}},
		eachPool(func(p observe.Pool, set func(float64, ...string)) { set(truth(p.Spared != nil)) })},
	{metric{"mayfly_budget_memory_bytes", "Memory that workers of all pools share.", nil},
		func(v observe.View, set func(float64, ...string)) { set(float64(v.Share.Memory)) }},
	{metric{"mayfly_budget_held_memory_bytes", "Memory that workers of all pools hold of it.", nil},
		func(v observe.View, set func(float64, ...string)) { set(float64(v.Share.HeldMemory)) }},
	{metric{"mayfly_budget_cpus", "Virtual processors that workers of all pools share; not there without a limit.", nil},
		func(v observe.View, set func(float64, ...string)) { known(float64(v.Share.CPUs), set) }},
	{metric{"mayfly_budget_held_cpus", "Virtual processors that workers of all pools hold.", nil},
		func(v observe.View, set func(float64, ...string)) { set(float64(v.Share.HeldCPUs)) }},
	{metric{"mayfly_budget_held_disk_bytes", "What workers of all pools may write to their disks.", nil},
		func(v observe.View, set func(float64, ...string)) { set(float64(v.Share.HeldDisk)) }},
	{metric{"mayfly_host_closed", "1 while no worker starts on this host, whatever fits.", nil},
		func(v observe.View, set func(float64, ...string)) { set(truth(v.Share.Closed != "")) }},
	{metric{"mayfly_disk_free_bytes", "What is free where the state directory is.", nil},
		func(v observe.View, set func(float64, ...string)) { set(float64(v.Disk.Free)) }},
	{metric{"mayfly_disk_size_bytes", "What the file system of the state directory holds.", nil},
		func(v observe.View, set func(float64, ...string)) { set(float64(v.Disk.Total)) }},
	{metric{"mayfly_problems", "What /problems lists, by its kind.", []string{"kind"}},
		func(v observe.View, set func(float64, ...string)) {
			count := make(map[string]int)
			for _, problem := range v.Problems {
				count[problem.Kind]++
			}
			for _, kind := range observe.Kinds {
				set(float64(count[kind]), kind)
			}
		}},
}

// states are those that workers may have of which something is left, and fleetingStates
// those of them that the runner knows.
var (
	fleetingStates = []pool.State{
		pool.Creating, pool.Running, pool.Suspending, pool.Suspended, pool.Resuming, pool.Deleting,
	}
	states = append([]pool.State{pool.Spare, pool.Canary}, fleetingStates...)
)

// countStates sets each state of each pool, also those that no worker has.
func countStates(
	v observe.View, which []pool.State, without func(observe.Worker) bool, set func(float64, ...string),
) {
	for _, p := range v.Pools {
		count := make(map[pool.State]int)
		for _, w := range p.Workers {
			if !without(w) {
				count[w.State]++
			}
		}
		for _, state := range which {
			set(float64(count[state]), p.Name, string(state))
		}
	}
}

// eachPool reads what each pool has, whose name is the first label.
func eachPool(read func(p observe.Pool, set func(float64, ...string))) func(observe.View, func(float64, ...string)) {
	return func(v observe.View, set func(float64, ...string)) {
		for _, p := range v.Pools {
			read(p, func(value float64, labels ...string) { set(value, append([]string{p.Name}, labels...)...) })
		}
	}
}

// oldestStart is how long ago the worker was asked for that has waited longest.
func oldestStart(p observe.Pool, now time.Time) (longest time.Duration) {
	for _, w := range p.Workers {
		if w.State == pool.Creating && !w.Began.IsZero() {
			longest = max(longest, now.Sub(w.Began))
		}
	}
	return longest
}

// known leaves out what is 0 because it is not known.
func known(value float64, set func(float64, ...string), labels ...string) {
	if value != 0 {
		set(value, labels...)
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func seconds(at time.Time) float64 { return float64(at.UnixMilli()) / 1000 }
