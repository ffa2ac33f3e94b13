package apt

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var bookworm = Distribution{ID: Debian, Codename: "bookworm"}

// The files below testdata/<host>/ are what hosts have in /etc/apt; of each we
// want exactly what is in want.sources.
func TestOwnSourcesOfHosts(t *testing.T) {
	hosts := map[string]Distribution{
		"debian":  bookworm,
		"oneline": bookworm,
		"ubuntu":  {ID: Ubuntu, Codename: "noble"},
	}
	for host, distribution := range hosts {
		t.Run(host, func(t *testing.T) {
			entries, err := Read(filepath.Join("testdata", host))
			require.NoError(t, err)
			want, err := os.ReadFile(filepath.Join("testdata", host, "want.sources"))
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(string(want), Render(distribution.Own(entries))))
		})
	}
}

func TestRenderedSourcesAreReadBack(t *testing.T) {
	entries, err := Read("testdata/debian")
	require.NoError(t, err)
	own := bookworm.Own(entries)
	require.Equal(t, own, parseDeb822(Render(own)))
}

func TestAnotherSuite(t *testing.T) {
	own := []Entry{
		{URIs: []string{"http://a"}, Suites: []string{"bookworm", "bookworm-updates"}, Components: []string{"main"}},
		{URIs: []string{"http://b"}, Suites: []string{"bookworm-security"}, Components: []string{"main"}},
	}
	require.Equal(t, own, bookworm.For("bookworm", own))
	trixie := bookworm.For("trixie", own)
	require.Equal(t, []string{"trixie", "trixie-updates"}, trixie[0].Suites)
	require.Equal(t, []string{"trixie-security"}, trixie[1].Suites)
	sid := bookworm.For("sid", own)
	require.Len(t, sid, 1)
	require.Equal(t, []string{"sid"}, sid[0].Suites)
	require.Equal(t, []string{"bookworm", "bookworm-updates"}, own[0].Suites, "the host's own were changed")
}

func TestMirrorListsAreExpanded(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "mirrors.list")
	require.NoError(t, os.WriteFile(list, []byte("# first\nhttp://mirror.example/debian priority:1\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sources.list"), []byte("deb mirror+file://"+list+" bookworm main\n"), 0o600))
	entries, err := Read(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"http://mirror.example/debian"}, entries[0].URIs)
}

func TestBrokenListNamesFileAndLine(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sources.list"), []byte("# fine\ndeb [arch=amd64 http://a bookworm main\n"), 0o600))
	_, err := Read(dir)
	require.ErrorContains(t, err, "sources.list: line 2")
}

func TestParseOSRelease(t *testing.T) {
	for text, want := range map[string]Distribution{
		"ID=debian\nVERSION_CODENAME=bookworm\n":                                                       bookworm,
		"ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\nUBUNTU_CODENAME=noble\n":                   {Ubuntu, "noble"},
		"ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble\n":     {Ubuntu, "noble"},
		"ID=example\nID_LIKE=debian\nVERSION_CODENAME='x'\nDEBIAN_CODENAME=bookworm\nNAME=\"A = B\"\n": bookworm,
	} {
		got, err := ParseOSRelease(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := ParseOSRelease("ID=fedora\n")
	require.ErrorContains(t, err, `"fedora"`)
	_, err = ParseOSRelease("ID=debian\n")
	require.ErrorContains(t, err, "no codename")
}

func TestTransportSettings(t *testing.T) {
	dump := `Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://user:password@proxy.example:3142";
Acquire::http::Proxy::mirror.example "DIRECT";
Acquire::https::CaInfo "/etc/ssl/ca.pem";
Acquire::HTTP::Timeout "5";
Acquire::ftp::Proxy "";
Acquire::Check-Valid-Until "false";
Acquire::Retries "3";
Acquire::GzipIndexes "true";
Acquire::Languages:: "none";
`
	require.Equal(t, `Acquire::http::Proxy "http://user:password@proxy.example:3142";
Acquire::http::Proxy::mirror.example "DIRECT";
Acquire::https::CaInfo "/etc/ssl/ca.pem";
Acquire::HTTP::Timeout "5";
Acquire::Check-Valid-Until "false";
Acquire::Retries "3";
`, TransportSettings(dump))
}

func FuzzParse(f *testing.F) {
	f.Add("deb [arch=amd64,arm64 signed-by=/k] http://a bookworm main # x\n")
	f.Add("Types: deb\nURIs: http://a\nSigned-By:\n -----BEGIN\n .\n")
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := parseList(text)
		if err == nil {
			bookworm.Own(entries)
		}
		Render(bookworm.Own(parseDeb822(text)))
	})
}

func TestTheMirrorBehindACacheIsInItsPath(t *testing.T) {
	const cached, mirror = "http://localhost:3142/deb.example.org/debian", "http://deb.example.org/debian"
	for uri, want := range map[string]string{
		cached: mirror,
		"http://127.0.0.1:3142/deb.example.org/debian-security/": "http://deb.example.org/debian-security",
		"http://[::1]:3142/ftp.example.org/pub/debian":           "http://ftp.example.org/pub/debian",
		"http://localhost:3142/HTTPS///deb.example.org/debian":   "https://deb.example.org/debian",
		"http://localhost:3142/debian":                           "", // the cache's own settings say what that is
		"http://localhost:3142/mirror/debian":                    "",
		"http://localhost:3142/":                                 "",
		mirror:                                                   "",
		"http://192.168.1.2:3142/deb.example.org/debian":         "",
	} {
		got, known := Behind(uri)
		require.Equal(t, want, got, uri)
		require.Equal(t, want != "", known, uri)
	}
	mirrors, unknown := BehindCaches([]Entry{
		{URIs: []string{cached, mirror}},
		{URIs: []string{"http://localhost:3142/x"}},
	})
	require.Equal(t, map[string]string{cached: mirror}, mirrors)
	require.Equal(t, []string{"http://localhost:3142/x"}, unknown)
	require.Equal(t, "localhost:3142_deb.example.org_de%5fb_",
		ListPrefix("http://localhost:3142/deb.example.org/de_b/"))
}

func TestProxiesOnLoopback(t *testing.T) {
	require.Equal(t, []string{"http://u:xxxxx@localhost:3142"}, LoopbackProxies(`Acquire::http "";
Acquire::http::Proxy "http://u:word@localhost:3142";
Acquire::https::Proxy "http://u:word@localhost:3142";
Acquire::http::Proxy::deb.example "http://127.0.0.1:1";
Acquire::ftp::Proxy "http://proxy.example:3142";
`))
}
