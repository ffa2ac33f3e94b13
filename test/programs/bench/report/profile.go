package report

// Start is one fork that was started alone, in seconds.
type Start struct {
	// Ready is from the moment that it was asked for; Promised is when it was
	// taken note of, from the same moment.
	Ready, Promised float64
	// Phases are those of its record.
	Phases map[string]float64
}

// phases are the parts of a start in their order, as records name them, and
// for people. What a record names besides is in the rest.
var phases = []struct{ key, name string }{
	{"wait_image", "waiting for the image"},
	{"wait_template", "waiting for the template"},
	{"wait_budget", "waiting for room on the host"},
	{"wait_start", "waiting for a start slot"},
	{"lease", "lease, keys, record"},
	{"start.disk", "disk"},
	{"start.process", "QEMU's process"},
	{"start.restore", "restoring the state"},
	{"start.continue", "letting it run"},
	{"start.identity", "identity, up to an open SSH port"},
	{"ready.connect", "SSH: connection"},
	{"ready.key_exchange", "SSH: key exchange"},
	{"ready.authentication", "SSH: authentication"},
	{"ready.session", "SSH: session"},
}

const (
	promised = "promise: the runner's call"
	theRest  = "the rest: records, clean-up"
)

// Profile is the median of each phase, and of when it ended if all were done
// one after the other. The rest is what no phase accounts for, wherever in
// between it was spent.
func Profile(starts []Start) []Phase {
	if len(starts) == 0 {
		return nil
	}
	took := make(map[string][]float64)
	ended := make(map[string][]float64)
	for _, start := range starts {
		at := 0.0
		add := func(name string, seconds float64) {
			at += seconds
			took[name] = append(took[name], seconds*1e3)
			ended[name] = append(ended[name], at*1e3)
		}
		add(promised, start.Promised)
		for _, phase := range phases {
			if seconds, noted := start.Phases[phase.key]; noted {
				add(phase.name, seconds)
			}
		}
		add(theRest, start.Ready-at)
	}
	var profile []Phase
	for _, name := range phaseNames() {
		if len(took[name]) > 0 {
			profile = append(profile, Phase{Name: name, Took: NewSeries(took[name]), Ended: NewSeries(ended[name])})
		}
	}
	return profile
}

func phaseNames() []string {
	names := []string{promised}
	for _, phase := range phases {
		names = append(names, phase.name)
	}
	return append(names, theRest)
}
