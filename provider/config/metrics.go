package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
)

// Metrics says where metrics and the page are served.
type Metrics struct {
	// Listen is the absolute path of a unix socket, or an address with a port; empty
	// serves nothing.
	Listen string
	// TokenFile holds the token that a client must show.
	TokenFile string
}

// socketSuffix is how many bytes more the path of a unix socket has until the socket
// is in its place.
const socketSuffix = len(".12345678")

func metricsSection(c *Config) section {
	m := &c.Metrics
	return section{name: "metrics", together: c.checkMetrics,
		about: "One endpoint for all pools of the state directory: give all of them the same values.",
		keys: []key{
			{name: "listen", value: text(&m.Listen, parseListen), otherwise: "nothing is served",
				example: `"/run/mayfly/metrics.sock"`,
				about: "where `/metrics` for Prometheus and a page for people are served, of all pools of the " +
					"`state_dir`: the absolute path of a unix socket, which is made for its owner alone, or an IP " +
					"address with a port, such as \"127.0.0.1:9798\" ([guide](../guides/metrics.md))",
				refused: "a relative path; a path too long for a socket; a " +
					"name in place of an IP address; port 0; an address without `metrics.token_file`"},
			{name: "token_file", value: text(&m.TokenFile, parseTokenFile), otherwise: "no token is asked for",
				example: `"/etc/mayfly/metrics-token"`,
				about: "the absolute path of a file with the token that a client must show, as a bearer token or as " +
					"the password of any user: one line of 16 to 512 characters, readable by its owner alone",
				refused: "a relative path; without `metrics.listen`"},
		}}
}

// checkMetrics refuses an address that whoever reaches it could read.
func (c *Config) checkMetrics(r *reading) {
	m := c.Metrics
	switch {
	case r.wrong("metrics.listen", "metrics.token_file"):
	case m.Listen == "" && m.TokenFile != "":
		r.refuse("metrics.token_file", "is for metrics.listen, which is not given: "+
			"write for instance metrics.listen = \"127.0.0.1:9798\", or remove it")
	case m.Listen != "" && !m.Socket() && m.TokenFile == "":
		r.refuse("metrics.listen", "%q can be read by every user of this host, and by whoever else reaches it: "+
			"set metrics.token_file, or listen on a unix socket, such as \"/run/mayfly/metrics.sock\"", m.Listen)
	}
}

// Socket says that it is listened on a unix socket.
func (m Metrics) Socket() bool { return filepath.IsAbs(m.Listen) }

func parseListen(listen string) (string, error) {
	if filepath.IsAbs(listen) {
		path := filepath.Clean(listen)
		if excess := len(path) + socketSuffix - maxSocketPath; excess > 0 {
			return "", fmt.Errorf("%q is too long for a unix socket: shorten it by %d", path, excess)
		}
		return path, nil
	}
	address, err := netip.ParseAddrPort(listen)
	if err != nil || address.Port() == 0 {
		return "", fmt.Errorf("%q is neither an absolute path nor an IP address with a port: "+
			"write for instance \"/run/mayfly/metrics.sock\" or \"127.0.0.1:9798\"", listen)
	}
	return address.String(), nil
}

func parseTokenFile(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%q is not an absolute path: write for instance \"/etc/mayfly/metrics-token\"", path)
	}
	return filepath.Clean(path), nil
}
