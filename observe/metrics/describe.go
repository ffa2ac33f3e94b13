package metrics

import (
	"cmp"
	"slices"
)

// Description is what there is to know of a metric before anything is scraped.
type Description struct {
	Name, Kind, Help string
	// Labels are those besides that of the host, which all have.
	Labels []string
}

// All describes every metric, in the order of their names.
func All() (all []Description) {
	add := func(m metric, kind string) { all = append(all, Description{m.name, kind, m.help, m.labels}) }
	for _, g := range gauges {
		add(g.metric, "gauge")
	}
	for _, c := range counts {
		if c.buckets == nil {
			add(c.metric, "counter")
		} else {
			add(c.metric, "histogram")
		}
	}
	add(deniedPackets, "counter")
	add(failedScrapes, "counter")
	slices.SortFunc(all, func(a, b Description) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
