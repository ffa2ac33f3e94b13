package apt

import (
	"net/netip"
	"net/url"
	"strings"
)

// IsLoopback says that a URI leads to this host itself, which no guest reaches.
func IsLoopback(uri string) bool {
	address, err := url.Parse(uri)
	if err != nil {
		return false
	}
	if address.Hostname() == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(address.Hostname())
	return err == nil && ip.Unmap().IsLoopback()
}

// secure is how apt-cacher-ng is told in a path that the mirror is reached by https.
const secure = "HTTPS///"

// Behind is the mirror that stands behind a cache on this host's loopback. The cache has
// its name in the path: http://localhost:3142/deb.example.org/debian. A short name such as
// /debian stands for what the cache's own settings say, which is not known here.
func Behind(uri string) (mirror string, known bool) {
	address, err := url.Parse(uri)
	if err != nil || !IsLoopback(uri) {
		return "", false
	}
	path := strings.Trim(address.Path, "/")
	if rest, ok := strings.CutPrefix(path, secure); ok && rest != "" {
		return "https://" + rest, true
	}
	if host, _, _ := strings.Cut(path, "/"); strings.Contains(host, ".") {
		return "http://" + path, true
	}
	return "", false
}

// BehindCaches are the mirrors behind the caches among the URIs of entries, by these URIs,
// and the URIs on loopback of which nobody knows what is behind them.
func BehindCaches(entries []Entry) (mirrors map[string]string, unknown []string) {
	mirrors = map[string]string{}
	for _, entry := range entries {
		for _, uri := range entry.URIs {
			if mirror, known := Behind(uri); known {
				mirrors[uri] = mirror
			} else if IsLoopback(uri) {
				unknown = append(unknown, uri)
			}
		}
	}
	return mirrors, unknown
}

// ListPrefix is how the names of the files begin in which apt keeps the lists of a URI.
func ListPrefix(uri string) string {
	_, rest, _ := strings.Cut(strings.TrimRight(uri, "/"), "://")
	return strings.ReplaceAll(strings.ReplaceAll(rest, "_", "%5f"), "/", "_") + "_"
}
