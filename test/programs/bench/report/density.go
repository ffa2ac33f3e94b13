package report

import "fmt"

// Density is how many idle workers fit into so much memory, by way.
type Density struct {
	// LimitBytes is the memory, as the sum of the workers' PSS.
	LimitBytes int64     `json:"limit_bytes"`
	Fillings   []Filling `json:"fillings"`
	// Ratio is of how many fit in the last way to how many fit in the first.
	Ratio float64 `json:"ratio"`
}

// Filling is how workers of one way came to fill the memory.
type Filling struct {
	Method string `json:"method"`
	// Points are in the order in which workers were added.
	Points []Point `json:"points"`
	// Fit is how many workers there are when the sum reaches the limit, with a
	// fraction that lies between two points.
	Fit float64 `json:"fit"`
	// Further is what one more worker takes at the last point, in bytes.
	Further float64 `json:"further_bytes"`
}

// Point is the sum of PSS of so many idle workers.
type Point struct {
	Workers int   `json:"workers"`
	PSS     int64 `json:"pss_bytes"`
}

// NewDensity works out how many workers fit. Each filling has one point at
// least, and its last one is at the limit or above it.
func NewDensity(limit int64, fillings []Filling) (Density, error) {
	d := Density{LimitBytes: limit}
	for _, f := range fillings {
		var err error
		if f.Fit, f.Further, err = fit(f.Points, limit); err != nil {
			return Density{}, fmt.Errorf("density of the %s: %w", f.Method, err)
		}
		d.Fillings = append(d.Fillings, f)
	}
	if len(d.Fillings) > 0 && d.Fillings[0].Fit > 0 {
		d.Ratio = d.Fillings[len(d.Fillings)-1].Fit / d.Fillings[0].Fit
	}
	return d, nil
}

// fit takes the sum for a straight line between two points.
func fit(points []Point, limit int64) (workers, further float64, err error) {
	var before Point // no worker takes nothing
	for _, at := range points {
		if at.Workers <= before.Workers {
			return 0, 0, fmt.Errorf("%d workers after %d", at.Workers, before.Workers)
		}
		further = float64(at.PSS-before.PSS) / float64(at.Workers-before.Workers)
		if at.PSS >= limit {
			return float64(before.Workers) + float64(limit-before.PSS)/further, further, nil
		}
		before = at
	}
	return 0, 0, fmt.Errorf("%d workers take %d bytes, which is not the limit of %d yet",
		before.Workers, before.PSS, limit)
}

// Table shows the ways one below the other, and how many times as many workers
// as in the first way fit.
func (d Density) Table() string {
	if len(d.Fillings) == 0 {
		return ""
	}
	first := d.Fillings[0]
	t := table{{"way", fmt.Sprintf("workers in %g GiB", float64(d.LimitBytes)/(1<<30)), "memory (PSS) of each",
		"of one more", "times the " + first.Method}}
	for _, f := range d.Fillings {
		t = append(t, []string{f.Method, fmt.Sprintf("%.1f", f.Fit), mebibytes(float64(d.LimitBytes) / f.Fit),
			mebibytes(f.Further), fmt.Sprintf("%.1f", f.Fit/first.Fit)})
	}
	return t.String()
}
