package report

import "fmt"

// Comparison is what was measured in several ways, which took turns.
type Comparison struct {
	// Ways are the ways in the order of the columns.
	Ways []string `json:"ways"`
	Rows []Row    `json:"rows"`
}

// Row is one thing that was measured in each way.
type Row struct {
	What string `json:"what"`
	// Seconds are how long it took, by way.
	Seconds []Series `json:"seconds"`
	// Ratios are of medians: of each way but the first to the first. 0 was not
	// measured.
	Ratios []float64 `json:"ratios"`
}

// NewComparison takes samples by way and by what was measured. Rows are in the
// order of what.
func NewComparison(ways, what []string, samples map[string]map[string][]float64) Comparison {
	c := Comparison{Ways: ways}
	for _, name := range what {
		r := Row{What: name}
		for _, way := range ways {
			r.Seconds = append(r.Seconds, NewSeries(samples[way][name]))
		}
		for _, series := range r.Seconds[1:] {
			r.Ratios = append(r.Ratios, ratio(series, r.Seconds[0]))
		}
		c.Rows = append(c.Rows, r)
	}
	return c
}

// Table shows the ways side by side, then their ratios.
func (c Comparison) Table() string {
	if len(c.Ways) == 0 {
		return ""
	}
	head := append([]string{"median"}, c.Ways...)
	for _, way := range c.Ways[1:] {
		head = append(head, way+" / "+c.Ways[0])
	}
	t := table{append(head, "n")}
	for _, r := range c.Rows {
		line := []string{r.What}
		for _, series := range r.Seconds {
			line = append(line, row{format: seconds}.show(series))
		}
		for _, ratio := range r.Ratios {
			line = append(line, fraction(ratio))
		}
		t = append(t, append(line, fmt.Sprint(r.Seconds[0].N)))
	}
	return t.String()
}
