//go:build linux

package machines

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/island"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/secrets"
)

// What a job sees of the network: a way out and a name server, but neither
// another worker nor the host.
func TestJobSeesNeitherWorkersNorTheHost(t *testing.T) {
	s := begin(t)
	remove, err := sandbox.MakeInternet()
	t.Cleanup(func() { require.NoError(t, remove()) })
	require.NoError(t, err)
	plugin, ids := s.startWith(t, 2)
	secrets.RequireKept(t, stateDir())
	other, err := plugin.ConnectInfo(t.Context(), ids[1])
	require.NoError(t, err)

	var outside, outside6 string
	require.NoError(t, island.Do(sandbox.InternetNamespace, func() error {
		outside, outside6 = listen(t, sandbox.Internet), listen(t, sandbox.Internet6)
		return nil
	}))
	gateway := listen(t, network.Subnet(config.Default().Network.Subnet).Gateway().String())
	wan, wan6 := listen(t, sandbox.Uplink), listen(t, sandbox.Uplink6)
	for _, address := range []string{other.InternalAddr, gateway, wan, wan6} {
		requireAnswer(t, address)
	}

	reach := func(address, within string) string {
		said, err := plugin.Run(patiently(t), ids[0], probe(address, within))
		require.NoError(t, err)
		return strings.TrimSpace(said)
	}
	// What answers may take its time, and silence need not be heard for long.
	const answer, silence = "120", "3"
	require.Equal(t, reached, reach(outside, answer), "a way out")
	require.Equal(t, reached, reach(outside6, answer), "a way out by IPv6")
	require.Equal(t, reached, reach("127.0.0.1:22", answer), "itself")
	require.Equal(t, unreachable, reach(other.InternalAddr, silence), "the other worker")
	require.Equal(t, unreachable, reach(gateway, silence), "the host, by its side of the link")
	require.Equal(t, unreachable, reach(wan, silence), "the host, by its address outside")
	require.Equal(t, unreachable, reach(wan6, silence), "the host, by its IPv6 address")

	resolvConf, err := plugin.Run(patiently(t), ids[0], "cat /etc/resolv.conf")
	require.NoError(t, err)
	require.Regexp(t, `(?m)^nameserver `+network.Gateway.String()+`$`, resolvConf)
}

// What probe's script may say.
const (
	reached     = "reached"
	unreachable = "unreachable"
)

// probe is a script that tries to connect within so many seconds.
func probe(address, within string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("if timeout %s bash -c '</dev/tcp/%s/%s' 2>/dev/null; then echo %s; else echo %s; fi",
		within, host, port, reached, unreachable)
}

// listen accepts connections at a free port until the test ends.
func listen(t *testing.T, host string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

// requireAnswer wants the host itself to get through: what is unreachable must
// be so because of who asks.
func requireAnswer(t *testing.T, address string) {
	t.Helper()
	connection, err := net.DialTimeout("tcp", address, moments)
	require.NoError(t, err)
	require.NoError(t, connection.Close())
}
