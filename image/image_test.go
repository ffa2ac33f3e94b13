package image

import "testing"

func TestPublicLocationKeepsSecrets(t *testing.T) {
	for _, c := range []struct {
		source Source
		want   string
	}{
		{Source{Kind: HTTPS, Location: "https://us:secret@example.org/a.qcow2?signature=secret#x"}, "https://example.org/a.qcow2"},
		{Source{Kind: HTTPS, Location: "https://example.org:8443/a b.raw"}, "https://example.org:8443/a%20b.raw"},
		{Source{Kind: HTTPS, Location: "https://us:sec%ret@example.org/"}, "a URL that cannot be read"},
		{Source{Kind: Local, Location: "/srv/a?b.raw"}, "/srv/a?b.raw"},
		{Source{Kind: OCI, Location: "example.org/a:1"}, "example.org/a:1"},
		{Source{Kind: Debootstrap}, ""},
	} {
		if got := c.source.Public(); got != c.want {
			t.Errorf("%q: got %q, want %q", c.source.Location, got, c.want)
		}
	}
}
