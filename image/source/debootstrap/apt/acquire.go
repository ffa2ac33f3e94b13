package apt

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// transport are the settings that say how this host reaches its mirrors:
// proxies, certificates, and whether a mirror may be out of date.
var transport = []string{
	"Acquire::http::", "Acquire::https::", "Acquire::ftp::", "Acquire::socks::",
	"Acquire::Retries ", "Acquire::ForceIPv4 ", "Acquire::ForceIPv6 ",
	"Acquire::Check-Valid-Until ", "Acquire::Check-Date ", "Acquire::Max-FutureTime ",
}

// TransportSettings picks from the output of `apt-config dump` the settings for
// reaching mirrors. The result is a file of apt.conf(5).
func TransportSettings(dump string) string {
	var kept strings.Builder
	for line := range strings.Lines(dump) {
		named := func(prefix string) bool {
			return len(line) >= len(prefix) && strings.EqualFold(line[:len(prefix)], prefix)
		}
		if slices.ContainsFunc(transport, named) && !strings.HasSuffix(strings.TrimSpace(line), ` "";`) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

var proxySetting = regexp.MustCompile(`(?mi)^Acquire::(http|https|ftp)::Proxy "([^"]+)";$`)

// LoopbackProxies finds in the output of `apt-config dump` the proxies that this host has
// on its loopback, without their passwords.
func LoopbackProxies(dump string) (found []string) {
	for _, setting := range proxySetting.FindAllStringSubmatch(dump, -1) {
		address, err := url.Parse(setting[2])
		if err == nil && IsLoopback(setting[2]) && !slices.Contains(found, address.Redacted()) {
			found = append(found, address.Redacted())
		}
	}
	return found
}
