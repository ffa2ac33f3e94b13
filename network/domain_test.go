package network

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	longest = strings.Repeat("a", 63)
	// whole is a name of 253 bytes.
	whole = strings.Join([]string{longest, longest, longest, strings.Repeat("b", 61)}, ".")
)

func TestParseDomain(t *testing.T) {
	for text, want := range map[string]string{
		"gitlab.example.com":    "gitlab.example.com",
		"GitLab.Example.COM.":   "gitlab.example.com",
		"*.Debian.org":          "*.debian.org",
		"*.debian.org.":         "*.debian.org",
		"registry":              "registry",
		"*.lan":                 "*.lan",
		"_acme.a-b.1and1.com":   "_acme.a-b.1and1.com",
		"xn--bcher-kva.example": "xn--bcher-kva.example",
		"1.2.3.4.in-addr.arpa":  "1.2.3.4.in-addr.arpa",
		"cafe.de":               "cafe.de",
		longest + ".org":        longest + ".org",
		whole:                   whole,
		whole + ".":             whole,
		"*." + whole:            "*." + whole,
	} {
		got, err := ParseDomain(text)
		require.NoError(t, err, "%q", text)
		assert.Equal(t, want, got, "%q", text)
		again, err := ParseDomain(got)
		require.NoError(t, err)
		assert.Equal(t, got, again)
	}
}

func TestParseDomainSaysHowToMend(t *testing.T) {
	const instance = `write for instance "gitlab.example.com"`
	for text, want := range map[string]string{
		"":                     `"" is not a valid name: ` + instance + `, or remove it`,
		".":                    `"." is not a valid name: ` + instance + `, or remove it`,
		"*":                    `"*" is every name: remove domains for that, or write for instance "*.example.com"`,
		"*.":                   `"*." is every name: remove domains for that, or write for instance "*.example.com"`,
		"1.2.3.4":              `"1.2.3.4" is an address: write "1.2.3.4/32" into allow`,
		"2001:DB8::1":          `"2001:DB8::1" is an address: write "2001:db8::1/128" into allow`,
		"[::1]":                `"[::1]" is an address: write "::1/128" into allow`,
		"10.1.2.3/8":           `"10.1.2.3/8" is a network: write "10.0.0.0/8" into allow`,
		"10.1.2":               `"10.1.2" ends in a number, as no name does: ` + instance,
		"*.4":                  `"*.4" ends in a number, as no name does: ` + instance,
		"https://a.example/b":  `"https://a.example/b" is a URL or a path: write the name in it alone, for instance "gitlab.example.com"`,
		"a.example/b":          `"a.example/b" is a URL or a path: write the name in it alone, for instance "gitlab.example.com"`,
		"a.example:443":        `"a.example:443" has a port: write the name alone, for instance "gitlab.example.com"`,
		"[::1]:443":            `"[::1]:443" has a port: write the name alone, for instance "gitlab.example.com"`,
		"a.*.example":          `"a.*.example" has a * where none can be: write it first and alone, for instance "*.example.com"`,
		"*a.example":           `"*a.example" has a * where none can be: write it first and alone, for instance "*.example.com"`,
		"*.*.example":          `"*.*.example" has a * where none can be: write it first and alone, for instance "*.example.com"`,
		"a..example":           `"a..example" is not a valid name: two dots have nothing between them, or one is first: ` + instance,
		".a.example":           `".a.example" is not a valid name: two dots have nothing between them, or one is first: ` + instance,
		"a.example..":          `"a.example.." is not a valid name: two dots have nothing between them, or one is first: ` + instance,
		"-a.example":           `"-a.example" is not a valid name: "-a" begins or ends with -: write a letter or a digit there`,
		"a.b-.example":         `"a.b-.example" is not a valid name: "b-" begins or ends with -: write a letter or a digit there`,
		"a b.example":          `"a b.example" is not a valid name: "a b" may have a to z, 0 to 9, - and _ alone: ` + instance,
		" a.example":           `" a.example" is not a valid name: " a" may have a to z, 0 to 9, - and _ alone: ` + instance,
		"a\n.example":          `"a\n.example" is not a valid name: "a\n" may have a to z, 0 to 9, - and _ alone: ` + instance,
		"user@a.example":       `"user@a.example" is not a valid name: "user@a" may have a to z, 0 to 9, - and _ alone: ` + instance,
		"bücher.example":       `"bücher.example" has letters other than a to z: write it as the domain name system has it, with "xn--"`,
		"\u212aernel.example":  `"` + "\u212a" + `ernel.example" has letters other than a to z: write it as the domain name system has it, with "xn--"`,
		longest + "a.example":  `"` + longest + `a.example" is not a valid name: "` + longest + `a" is longer than the 63 characters that are allowed between dots: shorten it`,
		"a." + whole[1:] + "c": `"a.` + whole[1:] + `c" is longer than any name: write at most 253 characters`,
	} {
		got, err := ParseDomain(text)
		require.EqualError(t, err, want, "%q", text)
		assert.Empty(t, got, "%q", text)
	}
}

func FuzzParseDomain(f *testing.F) {
	for _, text := range []string{"", "*", "*.", "*.Debian.org.", "a..b", "1.2.3.4", "https://a/b", "a:1", "\u212a", "\xff", whole} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := ParseDomain(text)
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			return
		}
		require.Equal(t, strings.ToLower(name), name)
		again, err := ParseDomain(name)
		require.NoError(t, err)
		require.Equal(t, name, again)
	})
}
