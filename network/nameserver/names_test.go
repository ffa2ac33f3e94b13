package nameserver

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func mustParseNames(t testing.TB, list ...string) Names {
	t.Helper()
	names, err := ParseNames(list)
	require.NoError(t, err)
	return names
}

func TestAllows(t *testing.T) {
	list := []string{"gitlab.com", "*.Example.ORG", "registry.example.net.", "_sip._tcp.example.net", "xn--mnchen-3ya.de", "localhost"}
	names := mustParseNames(t, list...)
	for name, want := range map[string]bool{
		"gitlab.com":               true,
		"gitlab.com.":              true,
		"GitLab.Com.":              true,
		"www.gitlab.com.":          false,
		"notgitlab.com.":           false,
		"gitlab.com.evil.test.":    false,
		"com.":                     false,
		"example.org.":             false,
		"a.example.org.":           true,
		"A.B.C.EXAMPLE.org.":       true,
		"notexample.org.":          false,
		"a.example.org.evil.test.": false,
		"registry.example.net.":    true,
		"_sip._tcp.example.net.":   true,
		"_tcp.example.net.":        false,
		"XN--MNCHEN-3YA.de.":       true,
		"localhost.":               true,
		"*.example.org.":           true, // somebody asks for the star itself
		"":                         false,
		".":                        false,
		"1.2.0.192.in-addr.arpa.":  false,
		"a\x00.example.org.":       true,
	} {
		require.Equal(t, want, names.allows(name), "%q", name)
	}
}

// The sign for kelvin is a K for strings.ToLower and strings.EqualFold. In a
// message it is three bytes of another name.
func TestAllowsComparesAsDNSDoes(t *testing.T) {
	names := mustParseNames(t, "docker.io", "*.docker.io")
	require.True(t, names.allows("docKer.io."))
	require.False(t, names.allows("doc\u212aer.io."))
	require.False(t, names.allows("a.doc\u212aer.io."))
}

func TestNoNamesAllowAll(t *testing.T) {
	for _, names := range []Names{{}, mustParseNames(t)} {
		require.True(t, names.allows("anything.test."))
		require.True(t, names.allows("."))
	}
}

func TestReverseNamesAreNames(t *testing.T) {
	names := mustParseNames(t, "*.192.in-addr.arpa")
	require.True(t, names.allows("1.2.0.192.in-addr.arpa."))
	require.False(t, names.allows("1.0.0.10.in-addr.arpa."))
}

func TestParseNamesReportsEveryMistake(t *testing.T) {
	names, err := ParseNames([]string{"a..b", "good.test", "c:1"})
	require.ErrorContains(t, err, `"a..b"`)
	require.ErrorContains(t, err, `"c:1"`)
	require.Equal(t, Names{}, names)
}
