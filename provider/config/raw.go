package config

// raw mirrors plugin_config: everything optional, values as written. It ends
// where parse begins.
type raw struct {
	pool     given[string]
	backend  given[string]
	stateDir given[string]
	image    rawImage
	machine  rawMachine
	network  rawNetwork
	fork     rawFork
	nspawn   rawNspawn
	host     rawHost
	tart     rawTart
	bhyve    rawBhyve

	cloudHypervisor rawCloudHypervisor
}

type rawImage struct {
	source, digest, suite given[string]
	packages, run         given[[]string]
}

type rawMachine struct {
	cpus                       given[int64]
	memory, disk, startTimeout given[string]
}

type rawNetwork struct {
	subnet, egress, ipv6, bandwidth given[string]
	allow, deny, domains, dns       given[[]string]
	connections, connectionRate     given[int64]
	logDenied                       given[bool]
}

type rawFork struct {
	enabled, shareMemory given[bool]
	spares               given[int64]
}

type rawHost struct {
	maxWorkers, concurrentStarts given[int64]
}

// readRaw reads plugin_config. What has the wrong type or an unknown name is
// reported and left out.
func readRaw(t *table) raw {
	r := raw{
		pool:     t.text("pool", `"default"`),
		backend:  t.text("backend", `"auto"`),
		stateDir: t.text("state_dir", `"/var/lib/mayfly"`),
		image:    readImage(t.table("image")),
		machine:  readMachine(t.table("machine")),
		network:  readNetwork(t.table("network")),
		fork:     readFork(t.table("fork")),
		nspawn:   readNspawn(t.table("nspawn")),
		host:     readHost(t.table("host")),
		tart:     readTart(t.table("tart")),
		bhyve:    readBhyve(t.table("bhyve")),

		cloudHypervisor: readCloudHypervisor(t.table("cloud_hypervisor")),
	}
	readFleetingd(t, &r)
	t.refuseRest()
	return r
}

func readImage(t *table) rawImage {
	return rawImage{
		source:   t.text("source", `"debootstrap"`),
		digest:   t.text("digest", `"sha256:<64 hexadecimal digits>"`),
		suite:    t.text("suite", `"trixie"`),
		packages: t.texts("packages", `["git"]`),
		run:      t.texts("run", `["apt-get install -y git"]`),
	}
}

func readMachine(t *table) rawMachine {
	return rawMachine{
		cpus:         t.whole("cpus", `2`),
		memory:       t.text("memory", `"2GiB"`),
		disk:         t.text("disk", `"10GiB"`),
		startTimeout: t.text("start_timeout", `"10m"`),
	}
}

func readNetwork(t *table) rawNetwork {
	return rawNetwork{
		subnet:         t.text("subnet", `"10.210.0.0/16"`),
		egress:         t.text("egress", `"eth0"`),
		allow:          t.texts("allow", `["192.168.1.10/32"]`),
		deny:           t.texts("deny", `["private", "smtp"]`),
		domains:        t.texts("domains", `["gitlab.example.com", "*.debian.org"]`),
		dns:            t.texts("dns", `["9.9.9.9"]`),
		ipv6:           read(t, "ipv6", "a string", `"nat"`, asIPv6),
		bandwidth:      t.text("bandwidth", `"100mbit"`),
		connections:    t.whole("connections", `4096`),
		connectionRate: t.whole("connection_rate", `500`),
		logDenied:      t.flag("log_denied", `true`),
	}
}

// asIPv6 also takes true and false, for the two words that they say.
func asIPv6(value any) (string, bool) {
	if on, isFlag := value.(bool); isFlag {
		return map[bool]string{true: "nat", false: "off"}[on], true
	}
	return as[string](value)
}

func readFork(t *table) rawFork {
	return rawFork{
		enabled:     t.flag("enabled", `true`),
		shareMemory: t.flag("share_memory", `true`),
		spares:      t.whole("spares", `0`),
	}
}

func readHost(t *table) rawHost {
	return rawHost{
		maxWorkers:       t.whole("max_workers", `20`),
		concurrentStarts: t.whole("concurrent_starts", `4`),
	}
}
