package report

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseGoBench reads what `go test -bench` printed, as seconds by the name of
// the benchmark without "Benchmark" and the number of processors: one sample
// for each time that it was run (-count).
func ParseGoBench(text string) (map[string][]float64, error) {
	found := make(map[string][]float64)
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") || fields[3] != "ns/op" {
			continue
		}
		took, err := strconv.ParseFloat(fields[2], 64)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", strings.TrimSpace(line), err)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(fields[0], "Benchmark"), "-")
		found[name] = append(found[name], took/1e9)
	}
	return found, nil
}
