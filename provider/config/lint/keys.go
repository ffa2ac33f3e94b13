package lint

import (
	"maps"
	"slices"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// scalerKeys are the keys of [runners.autoscaler] that some runner to 19.4 knows, and
// connectorKeys those of its connector_config.
var (
	scalerKeys = []string{
		"capacity_per_instance", "max_use_count", "max_instances", "plugin", "plugin_config", "connector_config",
		"policy", "instance_ready_command", "instance_acquire_timeout", "update_interval",
		"update_interval_when_expecting",
		"deletion_retry_interval", "deletion_batch_interval", "shutdown_deletion_interval", "shutdown_deletion_retries",
		"failure_threshold", "scale_throttle", "reservation_throttling", "log_internal_ip", "log_external_ip",
		"delete_instances_on_shutdown", "vm_isolation", "state_storage", "instance_operation_time_buckets",
		"instance_creation_time_buckets", "instance_is_running_time_buckets", "instance_deletion_time_buckets",
		"instance_readiness_time_buckets", "instance_life_duration_buckets",
	}
	connectorKeys = []string{
		"os", "arch", "protocol", "protocol_port", "username", "password", "key_path", "use_static_credentials",
		"keepalive", "timeout", "use_external_addr",
	}
	// insideKeys are those of other tables in it.
	insideKeys = map[string][]string{
		"connector_config": connectorKeys,
		"policy": {
			"periods", "timezone", "idle_count", "idle_time", "scale_factor", "scale_factor_limit", "preemptive_mode",
		},
		"scale_throttle": {"limit", "burst"},
		"state_storage":  {"enabled", "dir", "keep_instance_with_acquisitions"},
		"vm_isolation":   {"enabled", "nesting_host", "nesting_config", "image", "connector_config"},
	}
)

func unknownKeys(e entry) []hit {
	hits := unknownIn(e.scaler, append([]string{"runtime_environment_ttl"}, scalerKeys...)) // of 19.6
	for _, name := range slices.Sorted(maps.Keys(insideKeys)) {
		for _, t := range e.scaler.Tables(name) {
			hits = append(hits, unknownIn(t, insideKeys[name])...)
		}
	}
	return hits
}

func unknownIn(t tomlfile.Table, known []string) (hits []hit) {
	for name := range t.Values {
		if slices.Contains(known, name) {
			continue
		}
		h := hit{path: t.At(name), found: "unknown key"}
		if near := config.Closest(name, known); near != "" {
			h.remedy = "write " + near + ", if that is meant, or remove it"
		}
		hits = append(hits, h)
	}
	return hits
}

func misplacedKeys(e entry) (hits []hit) {
	for _, name := range Misplaced(e.runner) {
		hits = append(hits, hit{path: e.runner.At(name), found: "stands in [[runners]]"})
	}
	return hits
}

// Misplaced are the keys of a [[runners]] entry, in order, that belong into its table
// [runners.autoscaler].
func Misplaced(entry tomlfile.Table) []string {
	keys := slices.Sorted(maps.Keys(entry.Values))
	return slices.DeleteFunc(keys, func(name string) bool { return !slices.Contains(scalerKeys, name) })
}
