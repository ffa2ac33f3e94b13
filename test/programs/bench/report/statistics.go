package report

import (
	"slices"
)

// Series is what was measured, as often as it was.
type Series struct {
	N       int       `json:"n"`
	Median  float64   `json:"median"`
	Samples []float64 `json:"samples"`
}

// NewSeries keeps the samples in their order.
func NewSeries(samples []float64) Series {
	return Series{N: len(samples), Median: median(samples), Samples: samples}
}

// median is 0 for no samples, and the mean of the two in the middle for an
// even number.
func median(samples []float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Ratios compare medians of workers, so many at once. One of which a part was
// not measured is 0.
type Ratios struct {
	AtOnce    int     `json:"at_once"`
	ForkClone float64 `json:"ready_fork_clone"`
	ForkOld   float64 `json:"ready_fork_old"`
	CloneOld  float64 `json:"ready_clone_old"`
	// PSSForkClone is of memory.
	PSSForkClone float64 `json:"pss_fork_clone"`
}

// Compare makes the ratios of all that was measured, in the order in which it
// was.
func Compare(workers []Workers) []Ratios {
	var all []Ratios
	for _, n := range counts(workers) {
		old, clone, fork := find(workers, Old, n), find(workers, Clone, n), find(workers, Fork, n)
		all = append(all, Ratios{
			AtOnce:       n,
			ForkClone:    ratio(fork.Ready, clone.Ready),
			ForkOld:      ratio(fork.Ready, old.Ready),
			CloneOld:     ratio(clone.Ready, old.Ready),
			PSSForkClone: ratio(fork.PSS, clone.PSS),
		})
	}
	return all
}

func ratio(of, to Series) float64 {
	if of.N == 0 || to.Median == 0 {
		return 0
	}
	return of.Median / to.Median
}

// counts are how many workers were started at once, each once.
func counts(workers []Workers) []int {
	var all []int
	for _, w := range workers {
		if !slices.Contains(all, w.AtOnce) {
			all = append(all, w.AtOnce)
		}
	}
	return all
}

// find returns the zero value, of no samples, for what was not measured.
func find(workers []Workers, method string, atOnce int) Workers {
	for _, w := range workers {
		if w.Method == method && w.AtOnce == atOnce {
			return w
		}
	}
	return Workers{}
}
