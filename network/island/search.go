//go:build linux

package island

import (
	"os"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
)

// search are the domains that guests look names up in that have no dot, separated by
// blanks. The host's own are read for every lease, as its resolvers are.
func (i *Island) search() string {
	domains := i.options.Search
	if domains == nil {
		domains = hostSearch(resolvConfs)
	}
	return strings.Join(domains, " ")
}

// hostSearch returns the search domains of the first file that has some.
func hostSearch(files []string) []string {
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if domains := searchDomains(string(text)); len(domains) > 0 {
			return domains
		}
	}
	return nil
}

// searchDomains returns the domains that a resolv.conf names: of several lines the last
// counts. What is no name, such as the root, is left out.
func searchDomains(conf string) (domains []string) {
	for line := range strings.Lines(conf) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "search" && fields[0] != "domain" {
			continue
		}
		domains = nil
		for _, field := range fields[1:] {
			domain, err := network.ParseSearch(field)
			if err == nil && len(domains) < network.MostSearch {
				domains = append(domains, domain)
			}
		}
	}
	return domains
}
