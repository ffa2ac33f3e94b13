package config

import (
	"fmt"
	"net/url"
)

// Tracing says where traces of workers are sent.
type Tracing struct {
	// Endpoint is a URL; empty sends none.
	Endpoint string
}

func tracingSection(c *Config) section {
	return section{name: "tracing", keys: []key{
		{name: "endpoint", value: text(&c.Tracing.Endpoint, parseEndpoint), otherwise: "no traces are sent",
			example: `"http://127.0.0.1:4318"`,
			about: "the URL of a receiver of OTLP over HTTP: it gets one trace for each worker, when nothing is left " +
				"of it. Without a path it is that of OTLP, `/v1/traces`. A receiver that does not answer delays " +
				"nothing ([guide](../guides/metrics.md#traces))",
			refused: "anything but http:// or https:// with a host; a user, a query or a fragment in it"},
	}}
}

func parseEndpoint(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%q is not a URL of http:// or https:// and a host: "+
			"write for instance \"http://127.0.0.1:4318\"", endpoint)
	}
	return u.String(), nil
}
