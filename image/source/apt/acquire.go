package apt

import "strings"

// transport are the settings that say how this host reaches its mirrors:
// proxies, certificates, and leniency towards a mirror that stands still.
var transport = []string{
	"Acquire::http::", "Acquire::https::", "Acquire::ftp::", "Acquire::socks::",
	"Acquire::Retries ", "Acquire::ForceIPv4 ", "Acquire::ForceIPv6 ",
	"Acquire::Check-Valid-Until ", "Acquire::Check-Date ", "Acquire::Max-FutureTime ",
}

// TransportSettings picks them from the output of `apt-config dump`, as a
// configuration file for an apt that works in the place of the host's.
func TransportSettings(dump string) string {
	var kept strings.Builder
	for line := range strings.Lines(dump) {
		if isTransport(line) && !strings.HasSuffix(strings.TrimSpace(line), ` "";`) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func isTransport(line string) bool {
	for _, prefix := range transport {
		if len(line) >= len(prefix) && strings.EqualFold(line[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}
