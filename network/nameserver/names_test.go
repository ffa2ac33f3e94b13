package nameserver

import (
	"strings"
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
		require.Equal(t, want, names.Allows(name), "%q", name)
	}
}

// The sign for kelvin is a K for strings.ToLower and strings.EqualFold. In a
// message it is three bytes of another name.
func TestAllowsComparesAsDNSDoes(t *testing.T) {
	names := mustParseNames(t, "docker.io", "*.docker.io")
	require.True(t, names.Allows("docKer.io."))
	require.False(t, names.Allows("doc\u212aer.io."))
	require.False(t, names.Allows("a.doc\u212aer.io."))
}

func TestNoNamesAllowAll(t *testing.T) {
	for _, names := range []Names{{}, mustParseNames(t)} {
		require.True(t, names.Allows("anything.test."))
		require.True(t, names.Allows("."))
	}
}

func TestReverseNamesAreNames(t *testing.T) {
	names := mustParseNames(t, "*.192.in-addr.arpa")
	require.True(t, names.Allows("1.2.0.192.in-addr.arpa."))
	require.False(t, names.Allows("1.0.0.10.in-addr.arpa."))
}

func TestParseNamesSaysWhatIsWrong(t *testing.T) {
	long := strings.Repeat("a23456789.", 25) + "abc"
	require.Len(t, long, maxName)
	mustParseNames(t, long, strings.Repeat("a", maxLabel)+".test")

	for text, want := range map[string]string{
		"":                           `"" is no domain name: write for instance "gitlab.com"`,
		".":                          "is no domain name: write",
		"*.":                         "is no domain name: write",
		"*":                          "would allow every name: leave the list empty",
		"*.*.gitlab.com":             `has a "*" that does not stand for every name below another`,
		"gitlab.*":                   `has a "*"`,
		"git*.com":                   `has a "*"`,
		"**.gitlab.com":              `has a "*"`,
		"192.0.2.1":                  "but an address: write addresses and networks into network.allow",
		"*.192.0.2.1":                "but an address",
		"2001:db8::1":                "but an address",
		"[2001:db8::1]":              "but an address",
		"[2001:db8::1]:53":           "but an address",
		"192.0.2.1:53":               "but an address",
		"10.0.0.0/8":                 "but an address",
		"https://gitlab.com":         "without scheme and path",
		"gitlab.com/group":           "without scheme and path",
		"gitlab.com:443":             "has a port",
		"m\u00fcnchen.de":            "write its xn-- form",
		".gitlab.com":                "has nothing before, after or between its dots",
		"gitlab..com":                "has nothing before, after or between its dots",
		"gitlab.com..":               "has nothing before, after or between its dots",
		long + "d":                   "is longer than 253 characters",
		strings.Repeat("a", 64):      "has more than 63 characters between dots",
		"git lab.com":                "has a character that is not in domain names",
		"gitlab.com ":                "has a character that is not in domain names",
		"gitlab,com":                 "has a character that is not in domain names",
		"-gitlab.com":                `has a "-" beside a dot or an end`,
		"gitlab-.com":                `has a "-" beside a dot or an end`,
		"10.1":                       "ends in a number",
		"gitlab.123":                 "ends in a number",
		"*.gitlab.com\n":             "has a character that is not in domain names",
		"gitlab.com, www.gitlab.com": "has a character that is not in domain names",
	} {
		_, err := ParseNames([]string{"good.test", text})
		require.ErrorContains(t, err, want, "%q", text)
		require.NotContains(t, err.Error(), "good.test")
	}
}

func TestParseNamesReportsEveryMistake(t *testing.T) {
	names, err := ParseNames([]string{"a..b", "good.test", "c:1"})
	require.ErrorContains(t, err, `"a..b"`)
	require.ErrorContains(t, err, `"c:1"`)
	require.Equal(t, Names{}, names)
}
