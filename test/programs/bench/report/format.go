package report

import "fmt"

// seconds has about three digits that count.
func seconds(s float64) string {
	switch {
	case s < 10:
		return fmt.Sprintf("%.2f s", s)
	case s < 100:
		return fmt.Sprintf("%.1f s", s)
	}
	return fmt.Sprintf("%.0f s", s)
}

// short is for times of any size.
func short(s float64) string {
	switch {
	case s < 0.001:
		return fmt.Sprintf("%.0f µs", s*1e6)
	case s < 1:
		return fmt.Sprintf("%.1f ms", s*1e3)
	}
	return seconds(s)
}

func milliseconds(ms float64) string { return fmt.Sprintf("%.0f ms", ms) }

func mebibytes(bytes float64) string {
	if mib := bytes / (1 << 20); mib < 10 {
		return fmt.Sprintf("%.1f MiB", mib)
	}
	return fmt.Sprintf("%.0f MiB", bytes/(1<<20))
}

func gibibytes(bytes int64) string { return fmt.Sprintf("%.0f GiB", float64(bytes)/(1<<30)) }

// fraction keeps two digits that count; 0 was not measured.
func fraction(ratio float64) string {
	switch {
	case ratio == 0:
		return "-"
	case ratio < 0.1:
		return fmt.Sprintf("%.3f", ratio)
	}
	return fmt.Sprintf("%.2f", ratio)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
