package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

func TestWhereMetricsAreServed(t *testing.T) {
	for listen, socket := range map[string]bool{
		"/run/mayfly/metrics.sock": true, "127.0.0.1:9798": false, "[::1]:9798": false, "0.0.0.0:80": false,
	} {
		c, err := config.Parse(fmt.Appendf(nil, `{"metrics": {"listen": %q, "token_file": "/etc/token"}}`, listen))
		require.NoError(t, err)
		assert.Equal(t, listen, c.Metrics.Listen)
		assert.Equal(t, socket, c.Metrics.Socket(), listen)
	}
	c, err := config.Parse([]byte(`{"tracing": {"endpoint": "https://otel.example.com/otlp"}}`))
	require.NoError(t, err)
	assert.Equal(t, "https://otel.example.com/otlp", c.Tracing.Endpoint)
}

func TestWhereMetricsAreNotServed(t *testing.T) {
	for text, want := range map[string]string{
		`{"metrics": {"listen": "localhost:9798"}}`:                    `metrics.listen: "localhost:9798" is neither an absolute path nor`,
		`{"metrics": {"listen": "127.0.0.1:0"}}`:                       `metrics.listen: "127.0.0.1:0" is neither`,
		`{"metrics": {"listen": "m.sock"}}`:                            `metrics.listen: "m.sock" is neither`,
		`{"metrics": {"listen": "127.0.0.1:9798"}}`:                    `set metrics.token_file, or listen on a unix socket`,
		`{"metrics": {"listen": "/` + strings.Repeat("x", 110) + `"}}`: `shorten it by 13`,
		`{"metrics": {"token_file": "/etc/token"}}`:                    `metrics.token_file: is for metrics.listen`,
		`{"metrics": {"listen": "/m", "token_file": "token"}}`:         `metrics.token_file: "token" is not an absolute`,
		`{"tracing": {"endpoint": "127.0.0.1:4318"}}`:                  `tracing.endpoint: "127.0.0.1:4318" is not a URL`,
		`{"tracing": {"endpoint": "grpc://otel:4317"}}`:                `tracing.endpoint: "grpc://otel:4317" is not`,
		`{"tracing": {"endpoint": "http://:4318"}}`:                    `tracing.endpoint: "http://:4318" is not a URL`,
		`{"tracing": {"endpoint": "http://me:pw@otel:4318"}}`:          `tracing.endpoint: `,
		`{"tracing": {"endpoint": "http://otel:4318/?key=x"}}`:         `tracing.endpoint: `,
	} {
		_, err := config.Parse([]byte(text))
		require.ErrorContains(t, err, want, text)
	}
}
