package lint

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// ruleMistake is the name of what package config refuses.
const ruleMistake = "mistake"

// rule is one thing that is looked at. The table in docs/guides/configuration.md is
// made of these.
//
//go:generate go test -count=1 -run ^TestTheGuideHasAllRules$ -update .
type rule struct {
	name  string
	level Level
	// looksAt says, for the guide, which keys; because says what a bad value does, and
	// remedy how to mend it, unless a hit knows better.
	looksAt, because, remedy string
	find                     func(*file) []hit
}

// hit is a place at which a rule found something, and what.
type hit struct{ path, found, remedy string }

func (h hit) text(r rule) string {
	return h.found + ": " + r.because + ": " + cmp.Or(h.remedy, r.remedy)
}

// The longest that the runner should leave between two questions to a local plugin.
const (
	slowUpdate    = 30 * time.Second
	slowExpecting = time.Second
)

// rules in the order of the guide.
var rules = []rule{
	{name: "unknown-key", level: Warning, looksAt: "every table of `[runners.autoscaler]` but `plugin_config`",
		because: "the runner ignores keys that it does not know, without a word",
		remedy:  "remove it", find: each(unknownKeys)},
	{name: "misplaced-key", level: Warning, looksAt: "`[[runners]]`",
		because: "the runner looks for settings of the autoscaler in its table only",
		remedy:  "move it to [runners.autoscaler]", find: each(misplacedKeys)},
	{name: "plugin", level: Error, looksAt: "`plugin`", because: "without it the runner starts no plugin",
		remedy: `write plugin = "fleeting-plugin-mayfly"`, find: each(noPlugin)},
	{name: "other-plugin", level: Warning, looksAt: "`plugin`",
		because: "fleetingd's keys are taken here, but the runner starts fleetingd",
		remedy:  `write plugin = "fleeting-plugin-mayfly"; ` + "`config migrate` writes our keys",
		find:    each(otherPlugin)},
	{name: "executor", level: Error, looksAt: "`executor`", because: "other executors have no autoscaler",
		remedy: `write executor = "instance" or "docker-autoscaler"`, find: each(otherExecutor)},
	{name: "shared-worker", level: Warning, looksAt: "`capacity_per_instance`",
		because: "jobs run beside each other in one worker, and can change each other",
		remedy:  "write capacity_per_instance = 1", find: each(sharedWorker)},
	{name: "used-worker", level: Warning, looksAt: "`max_use_count`",
		because: "a job finds what the one before has left; without the key a worker is used for ever",
		remedy:  "write max_use_count = 1", find: each(usedWorker)},
	{name: "no-limit", level: Warning, looksAt: "`max_instances`", because: "without it the runner knows no limit",
		remedy: "write max_instances, for instance 4", find: each(noLimit)},
	{name: "idle-count", level: Warning, looksAt: "`idle_count`", because: "there are never so many workers",
		remedy: "write a smaller idle_count or a larger max_instances", find: each(idleCount)},
	{name: "slow-update", level: Warning, looksAt: "`update_interval`",
		because: "the plugin cannot push: a worker that ends goes unnoticed for so long; by default a minute",
		remedy:  `write update_interval = "5s"`, find: each(slowIntervals("update_interval", time.Minute, slowUpdate))},
	{name: "slow-expecting", level: Warning, looksAt: "`update_interval_when_expecting`",
		because: "every new worker is seen late by so much; by default two seconds",
		remedy:  `write update_interval_when_expecting = "250ms"`,
		find:    each(slowIntervals("update_interval_when_expecting", 2*time.Second, slowExpecting))},
	{name: "shutdown", level: Warning, looksAt: "`delete_instances_on_shutdown`",
		because: "the plugin removes its workers when it ends, whatever is written: a reader should see that",
		remedy:  "write delete_instances_on_shutdown = true", find: each(keptOnShutdown)},
	{name: "docker", level: Warning, looksAt: "`executor`, `image`",
		because: "docker-autoscaler needs Docker in the worker",
		remedy:  `write preset = "docker" in [runners.autoscaler.plugin_config.image]`, find: each(noDocker)},
	{name: "docker-image", level: Warning, looksAt: "`[runners.docker]`",
		because: "docker-autoscaler has no image for jobs that name none",
		remedy:  `write image = "alpine:latest" in [runners.docker]`, find: each(noDockerImage)},
	{name: "credentials", level: Warning, looksAt: "`connector_config`",
		because: "each worker has a key of its own, and others are not taken",
		remedy:  "remove it", find: each(credentials)},
	{name: "protocol", level: Error, looksAt: "`connector_config`", because: "workers are entered by SSH only",
		remedy: "remove it", find: each(otherProtocol)},
	{name: "state-storage", level: Warning, looksAt: "`state_storage`, `feature_flags`",
		because: "no worker outlives the plugin but a suspended one: a runner that remembers others finds none of them",
		remedy:  "remove it, or set FF_SUSPENDABLE_ENVIRONMENTS in [runners.feature_flags]", find: each(stateStorage)},
	{name: "suspend", level: Warning, looksAt: "`feature_flags`, and with it [what suspending wants](suspend.md)",
		because: "newer runners refuse to suspend such a machine, or to resume it",
		remedy:  "see docs/guides/suspend.md", find: each(suspend)},
	{name: "volatile-state", level: Warning, looksAt: "`state_dir`",
		because: "images are lost at the next boot, or removed as old temporary files under running workers",
		remedy:  `write state_dir = "/var/lib/mayfly"`, find: each(volatileState)},
	{name: "worker-memory", level: Error, looksAt: "`machine.memory`",
		because: "such a worker never fits on the host, and the plugin does not start",
		remedy:  "write a smaller machine.memory", find: each(workerMemory)},
	{name: "limit", level: Warning, looksAt: "`limit`", because: "the entry takes fewer jobs than it has workers",
		remedy: "write a larger limit, or remove it for no limit", find: each(limit)},
	{name: "concurrent", level: Warning, looksAt: "`concurrent`",
		because: "the runner takes fewer jobs than there are workers in all its entries; by default one",
		remedy:  "write a larger concurrent", find: concurrent},
	{name: "memory", level: Warning, looksAt: "`max_instances`, `machine.memory`, of all pools",
		because: "workers wait for others to end before they start",
		remedy:  "write a smaller max_instances or machine.memory, or expect that", find: memory},
	{name: "same-pool", level: Error, looksAt: "`pool`, `state_dir`, of all pools",
		because: "one plugin process serves a pool: the second does not start",
		remedy:  "give each entry a pool of its own", find: pairs(samePool)},
	{name: "subnets", level: Warning, looksAt: "`network.subnet`, of all pools",
		because: "workers of two pools may want one address",
		remedy:  "write subnets that do not overlap, or one subnet and one state_dir for both", find: pairs(subnets)},
}

// each is a rule about one entry.
func each(find func(entry) []hit) func(*file) []hit {
	return func(f *file) (hits []hit) {
		for _, e := range f.entries {
			hits = append(hits, find(e)...)
		}
		return hits
	}
}

// found is one hit, or none.
func found(is bool, path, format string, args ...any) []hit {
	if !is {
		return nil
	}
	return []hit{{path: path, found: fmt.Sprintf(format, args...)}}
}

func noPlugin(e entry) []hit {
	return found(e.Plugin == "", e.scaler.At("plugin"), "is not set")
}

func otherPlugin(e entry) []hit {
	in := e.scaler
	if !in.Has("plugin") { // which is misplaced
		in = e.runner
	}
	return found(e.Plugin != "" && !e.Named(), in.At("plugin"), "is %q", e.Plugin)
}

func otherExecutor(e entry) []hit {
	executor := e.runner.Text("executor")
	ours := slices.Contains([]string{"instance", "docker-autoscaler"}, executor)
	return found(!ours, e.runner.At("executor"), "is %q", executor)
}

func sharedWorker(e entry) []hit {
	n := e.scaler.Number("capacity_per_instance", 1)
	return found(n > 1, e.scaler.At("capacity_per_instance"), "is %d", n)
}

func usedWorker(e entry) []hit {
	const key = "max_use_count"
	if !e.scaler.Has(key) {
		return found(true, e.scaler.At(key), "is not set")
	}
	n := e.scaler.Number(key, 1)
	return found(n != 1, e.scaler.At(key), "is %d", n)
}

func noLimit(e entry) []hit {
	const key = "max_instances"
	return found(!e.scaler.Has(key) || e.scaler.Number(key, 1) == 0, e.scaler.At(key), "is not set, or 0")
}

func idleCount(e entry) (hits []hit) {
	most := e.workers()
	for _, policy := range e.scaler.Tables("policy") {
		n := policy.Number("idle_count", 0)
		hits = append(hits, found(most > 0 && n > most, policy.At("idle_count"),
			"is %d, and the workers run %d jobs at most", n, most)...)
	}
	return hits
}

func slowIntervals(key string, fallback, most time.Duration) func(entry) []hit {
	return func(e entry) []hit {
		if !e.scaler.Has(key) {
			return found(true, e.scaler.At(key), "is not set")
		}
		interval := e.scaler.Duration(key, fallback)
		return found(interval > most, e.scaler.At(key), "is %s", interval)
	}
}

func keptOnShutdown(e entry) []hit {
	const key = "delete_instances_on_shutdown"
	if e.runner.Has(key) { // which is misplaced, and said already
		return nil
	}
	return found(!e.scaler.Flag(key), e.scaler.At(key), "is not true")
}

// noDocker looks at images that are made from packages: what others hold, only their
// maker knows.
func noDocker(e entry) []hit {
	if e.runner.Text("executor") != "docker-autoscaler" || !e.good || e.settings.Image.Preset == "docker" {
		return nil
	}
	i := e.settings.Image
	made := slices.Contains([]string{image.Debootstrap, image.Distribution}, i.Source.Kind)
	words := strings.Join(slices.Concat(i.Packages, i.Run, e.settings.Fork.Warm, []string{i.UserData}), " ")
	return found(made && !strings.Contains(words, "docker") && !strings.Contains(words, "podman"),
		e.runner.At("executor"), "is \"docker-autoscaler\", and nothing installs Docker in the image")
}

func noDockerImage(e entry) []hit {
	docker := e.runner.Table("docker")
	lacks := e.runner.Text("executor") == "docker-autoscaler" && !docker.Has("image")
	return found(lacks, docker.At("image"), "is not set")
}

func credentials(e entry) (hits []hit) {
	for _, key := range []string{"password", "key_path", "use_static_credentials"} {
		set := e.connector.Has(key) && e.connector.Values[key] != false
		hits = append(hits, found(set, e.connector.At(key), "is set")...)
	}
	return hits
}

func otherProtocol(e entry) []hit {
	protocol := e.connector.Text("protocol")
	return found(protocol != "" && protocol != "ssh", e.connector.At("protocol"), "is %q", protocol)
}

// suspends tells whether the runner asks for machines to be suspended.
func suspends(e entry) bool {
	return e.runner.Table("feature_flags").Flag("FF_SUSPENDABLE_ENVIRONMENTS")
}

func stateStorage(e entry) []hit {
	storage := e.scaler.Table("state_storage")
	return found(storage.Flag("enabled") && !suspends(e), storage.At("enabled"), "is true, and no machine is suspended")
}

func suspend(e entry) []hit {
	if !suspends(e) {
		return nil
	}
	var hits []hit
	need := func(lacks bool, path, what, remedy string) {
		if lacks {
			hits = append(hits, hit{path, what, remedy})
		}
	}
	storage := e.scaler.Table("state_storage")
	need(e.runner.Number("id", 0) == 0, e.runner.At("id"), "is not set, and machines are suspended",
		"write id, the runner's number in GitLab, which registering writes")
	need(!storage.Flag("enabled"), storage.At("enabled"), "is not true, and machines are suspended",
		"write enabled = true in [runners.autoscaler.state_storage], or a restart removes them")
	for _, key := range []string{"capacity_per_instance", "max_use_count"} {
		need(e.scaler.Number(key, 0) != 1, e.scaler.At(key), "is not 1, and machines are suspended",
			"write "+key+" = 1")
	}
	instance := e.runner.Table("instance")
	need(e.runner.Text("executor") == "instance" && !instance.Flag("use_common_build_dir"),
		instance.At("use_common_build_dir"), "is not true, and machines are suspended",
		"write use_common_build_dir = true in [runners.instance]")
	isolation := e.scaler.Table("vm_isolation")
	need(isolation.Flag("enabled"), isolation.At("enabled"), "is true, and machines are suspended", "remove it")
	backend := e.settings.Backend
	able := []string{config.BackendAuto, config.BackendQEMU, config.BackendCloudHypervisor}
	need(e.good && !slices.Contains(able, backend), e.plugged("backend"),
		fmt.Sprintf("is %q, which suspends no machine", backend),
		`use "qemu" or "cloudhypervisor", or remove FF_SUSPENDABLE_ENVIRONMENTS`)
	need(e.good && len(e.settings.Machine.Devices) > 0, e.plugged("machine.devices"),
		"are given, and a machine with a device of the host's cannot be saved",
		"remove them, or FF_SUSPENDABLE_ENVIRONMENTS")
	return hits
}

func volatileState(e entry) []hit {
	dir := e.settings.StateDir
	volatile := slices.ContainsFunc([]string{"/tmp", "/var/tmp", "/run", "/dev/shm"}, func(parent string) bool {
		return dir == parent || strings.HasPrefix(dir, parent+"/")
	})
	path := e.plugged("state_dir")
	if flat := e.plugged("vm_disk_directory"); e.scaler.Table("plugin_config").Has("vm_disk_directory") {
		path = flat
	}
	return found(e.good && volatile, path, "is %s", filepath.Clean(dir))
}

func workerMemory(e entry) []hit {
	memory := e.settings.Machine.Memory
	return found(e.shared > 0 && memory > e.shared, e.plugged("machine.memory"),
		"is %.1f GiB, and workers share %.1f GiB of this host", inGiB(memory), inGiB(e.shared))
}

func limit(e entry) []hit {
	n := e.runner.Number("limit", 0)
	return found(n > 0 && n < e.workers(), e.runner.At("limit"), "is %d, and the workers run %d jobs", n, e.workers())
}

func concurrent(f *file) []hit {
	top := f.Top()
	var all int64
	for _, e := range f.entries {
		all += e.workers()
	}
	n := top.Number("concurrent", 1)
	return found(n < all, "concurrent", "is %d, and the workers of all entries run %d jobs", n, all)
}

// memory adds up what the workers of all pools may take, where that is known. The
// least that one of the pools leaves to workers counts for all.
func memory(f *file) []hit {
	var all, shared int64
	for _, e := range f.entries {
		all += e.scaler.Number("max_instances", 0) * e.settings.Machine.Memory
		if e.shared > 0 && (shared == 0 || e.shared < shared) {
			shared = e.shared
		}
	}
	if shared == 0 {
		return nil
	}
	last := f.entries[len(f.entries)-1]
	return found(all > shared, last.scaler.At("max_instances"),
		"workers of all pools may take %.1f GiB, and share %.1f GiB of this host", inGiB(all), inGiB(shared))
}

func inGiB(bytes int64) float64 { return float64(bytes) / (1 << 30) }

// pairs is a rule about two entries, whose hit is at the second.
func pairs(find func(first, second entry) []hit) func(*file) []hit {
	return func(f *file) (hits []hit) {
		for i, second := range f.entries {
			for _, first := range f.entries[:i] {
				if first.good && second.good {
					hits = append(hits, find(first, second)...)
				}
			}
		}
		return hits
	}
}

func samePool(first, second entry) []hit {
	a, b := first.settings, second.settings
	return found(a.PoolDir() == b.PoolDir(), second.plugged("pool"), "is %q, as that of %s", b.Pool, first.Path)
}

// subnets may overlap when they are one, whose addresses one record gives out.
func subnets(first, second entry) []hit {
	a, b := first.settings, second.settings
	one := a.Network.Subnet == b.Network.Subnet && a.AddressDir() == b.AddressDir()
	return found(!one && onIsland(a) && onIsland(b) && a.Network.Subnet.Overlaps(b.Network.Subnet),
		second.plugged("network.subnet"), "%s overlaps %s of %s", b.Network.Subnet, a.Network.Subnet, first.Path)
}

// onIsland tells whether workers have a network of ours.
func onIsland(c config.Config) bool {
	return !slices.Contains([]string{config.BackendTart, config.BackendBhyve, config.BackendSynthetic}, c.Backend)
}
