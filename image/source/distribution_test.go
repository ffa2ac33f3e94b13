package source

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// vendor plays the server of a distribution: files by their paths. A file without
// content redirects to itself.
type vendor map[string][]byte

func (v vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, found := v[r.URL.Path]
	switch {
	case found && content == nil:
		http.Redirect(w, r, r.URL.Path, http.StatusFound)
	case found:
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	case strings.HasSuffix(r.URL.Path, "/"):
		v.index(w, r.URL.Path)
	default:
		http.NotFound(w, r)
	}
}

// index is what servers show of a directory.
func (v vendor) index(w http.ResponseWriter, dir string) {
	fmt.Fprintln(w, `<html><body><a href="../">Parent</a><a href="?C=N;O=D">Name</a>`)
	for file := range v {
		if path.Dir(file)+"/" == dir {
			fmt.Fprintf(w, "<a href=%q>%s</a>\n", path.Base(file), path.Base(file))
		}
	}
}

func (v vendor) serve(t *testing.T, name string) (Distributions, image.Source) {
	t.Helper()
	server := httptest.NewTLSServer(v)
	t.Cleanup(server.Close)
	d := Distributions{GOARCH: "amd64", HTTPS: HTTPS{
		Dir: filepath.Join(t.TempDir(), "downloads"), Client: server.Client(),
		Retry: time.Millisecond, Stall: time.Minute,
	}}
	return d, image.Source{Kind: image.Distribution, Location: name, Mirror: server.URL}
}

func sum256(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func sum512(content []byte) string {
	sum := sha512.Sum512(content)
	return hex.EncodeToString(sum[:])
}

// newKey makes a key, and a file with its public half.
func newKey(t *testing.T) (key *openpgp.Entity, keyring string) {
	t.Helper()
	key, err := openpgp.NewEntity("cloud images", "", "images@example.org", nil)
	require.NoError(t, err)
	var public bytes.Buffer
	require.NoError(t, key.Serialize(&public))
	keyring = filepath.Join(t.TempDir(), "keyring.gpg")
	require.NoError(t, os.WriteFile(keyring, public.Bytes(), 0o600))
	return key, keyring
}

func detached(t *testing.T, key *openpgp.Entity, text []byte) []byte {
	t.Helper()
	var signature bytes.Buffer
	require.NoError(t, openpgp.DetachSign(&signature, key, bytes.NewReader(text), nil))
	return signature.Bytes()
}

func armored(t *testing.T, key *openpgp.Entity, text []byte) []byte {
	t.Helper()
	var signature bytes.Buffer
	require.NoError(t, openpgp.ArmoredDetachSign(&signature, key, bytes.NewReader(text), nil))
	return signature.Bytes()
}

func clearsigned(t *testing.T, key *openpgp.Entity, text []byte) []byte {
	t.Helper()
	var signed bytes.Buffer
	w, err := clearsign.Encode(&signed, key.PrivateKey, nil)
	require.NoError(t, err)
	_, err = w.Write(text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return signed.Bytes()
}

// vendors are the layouts of all distributions, with an image, what surrounds it there,
// and the list of digests as text. Where is the path of that list, and signed the way
// that the distribution signs it.
func vendors(t *testing.T, key *openpgp.Entity, content []byte) map[string]struct {
	files vendor
	list  string
} {
	t.Helper()
	const (
		ubuntu = "/releases/24.04/release/"
		debian = "/images/cloud/bookworm/latest/"
		fedora = "/pub/fedora/linux/releases/43/Cloud/x86_64/images/"
		alma   = "/almalinux/9/cloud/x86_64/images/"
		rocky  = "/pub/rocky/9/images/x86_64/"
		leap   = "/distribution/leap/15.6/appliances/"
	)
	other := strings.Repeat("0", 64)
	ubuntuList := []byte(other + " *ubuntu-24.04-server-cloudimg-amd64.ova\n" +
		sum256(content) + " *ubuntu-24.04-server-cloudimg-amd64.img\n")
	fedoraList := []byte("# Fedora-Cloud-Base-Generic-43-1.6.x86_64.qcow2: 5 bytes\n" +
		"SHA256 (Fedora-Cloud-Base-Generic-43-1.6.x86_64.qcow2) = " + sum256(content) + "\n" +
		"SHA256 (Fedora-Cloud-Base-UEFI-UKI-43-1.6.x86_64.qcow2) = " + other + "\n")
	almaList := []byte(other + "  AlmaLinux-9-GenericCloud-9.8-20260526.x86_64.qcow2\n" +
		sum256(content) + "  AlmaLinux-9-GenericCloud-9.10-20270101.x86_64.qcow2\n" +
		other + "  AlmaLinux-9-GenericCloud-latest.x86_64.qcow2\n")
	leapList := []byte(sum256(content) + "  openSUSE-Leap-15.6-Minimal-VM.x86_64-15.6.0-Cloud-Build18.44.qcow2\n")
	return map[string]struct {
		files vendor
		list  string
	}{
		"ubuntu:24.04": {vendor{
			ubuntu + "ubuntu-24.04-server-cloudimg-amd64.img": content,
			ubuntu + "SHA256SUMS":                             ubuntuList,
			ubuntu + "SHA256SUMS.gpg":                         detached(t, key, ubuntuList),
		}, ubuntu + "SHA256SUMS"},
		"debian:12": {vendor{
			debian + "debian-12-genericcloud-amd64.qcow2": content,
			debian + "SHA512SUMS": []byte(strings.Repeat("0", 128) + "  debian-12-generic-amd64.qcow2\n" +
				sum512(content) + "  debian-12-genericcloud-amd64.qcow2\n"),
		}, debian + "SHA512SUMS"},
		"fedora:43": {vendor{
			fedora + "Fedora-Cloud-Base-Generic-43-1.6.x86_64.qcow2": content,
			fedora + "Fedora-Cloud-43-1.6-x86_64-CHECKSUM":           clearsigned(t, key, fedoraList),
		}, fedora + "Fedora-Cloud-43-1.6-x86_64-CHECKSUM"},
		"almalinux:9": {vendor{
			alma + "AlmaLinux-9-GenericCloud-9.8-20260526.x86_64.qcow2":  []byte("an older one"),
			alma + "AlmaLinux-9-GenericCloud-9.10-20270101.x86_64.qcow2": content,
			alma + "CHECKSUM":     almaList,
			alma + "CHECKSUM.asc": armored(t, key, almaList),
		}, alma + "CHECKSUM"},
		"rockylinux:9": {vendor{
			rocky + "Rocky-9-GenericCloud-Base-9.8-20260525.0.x86_64.qcow2": content,
			rocky + "CHECKSUM": []byte("SHA256 (Rocky-9-GenericCloud-Base-9.8-20260525.0.x86_64.qcow2) = " +
				sum256(content) + "\nSHA256 (Rocky-9-GenericCloud-LVM-9.8-20260525.0.x86_64.qcow2) = " + other + "\n"),
		}, rocky + "CHECKSUM"},
		"opensuse:15.6": {vendor{
			leap + "openSUSE-Leap-15.6-Minimal-VM.x86_64-Cloud.qcow2":            content,
			leap + "openSUSE-Leap-15.6-Minimal-VM.x86_64-Cloud.qcow2.sha256":     leapList,
			leap + "openSUSE-Leap-15.6-Minimal-VM.x86_64-Cloud.qcow2.sha256.asc": armored(t, key, leapList),
		}, leap + "openSUSE-Leap-15.6-Minimal-VM.x86_64-Cloud.qcow2.sha256"},
	}
}

var unsigned = []string{"debian:12", "rockylinux:9"}

func TestNewestImagesOfDistributions(t *testing.T) {
	content := []byte("a cloud image")
	key, keyring := newKey(t)
	for name, v := range vendors(t, key, content) {
		t.Run(name, func(t *testing.T) {
			d, from := v.files.serve(t, name)
			signs := name != unsigned[0] && name != unsigned[1]
			if signs {
				from.Keyring = keyring
			}
			var said strings.Builder
			file, err := d.Fetch(t.Context(), from, func(line string) { fmt.Fprintln(&said, line) })
			require.NoError(t, err)
			requireContent(t, file, content)
			if signs {
				require.Contains(t, said.String(), fmt.Sprintf("signed by the key %X", key.PrimaryKey.Fingerprint))
			} else {
				require.Contains(t, said.String(), "the distribution signs no images")
			}

			again, err := d.Fetch(t.Context(), from, func(line string) { fmt.Fprintln(&said, line) })
			require.NoError(t, err)
			require.Equal(t, file, again)
			require.Contains(t, said.String(), "already downloaded")
		})
	}
}

// TestWhatDistributionsMustNotServe changes one file of each layout.
func TestWhatDistributionsMustNotServe(t *testing.T) {
	content := []byte("a cloud image")
	key, keyring := newKey(t)
	stranger, _ := newKey(t)
	all := vendors(t, key, content)
	for name, v := range all {
		image := ""
		for file := range v.files {
			if bytes.Equal(v.files[file], content) {
				image = file
			}
		}
		for fault, c := range map[string]struct {
			file  string
			serve []byte
			want  string
		}{
			"another image":      {image, []byte("another image"), "and should have"},
			"a page":             {v.list, []byte("<html>log in"), `it begins with "<html>log in"`},
			"a redirect to self": {v.list, nil, "redirects more than ten times"},
			"an endless list":    {v.list, bytes.Repeat([]byte("0\n"), maxList), "more than"},
		} {
			t.Run(name+" "+fault, func(t *testing.T) {
				files := vendor{}
				for file, text := range v.files {
					files[file] = text
				}
				files[c.file] = c.serve
				d, from := files.serve(t, name)
				_, err := d.Fetch(t.Context(), from, quiet)
				require.ErrorContains(t, err, c.want)
				requireNothingDownloaded(t, d)
			})
		}
		t.Run(name+" missing", func(t *testing.T) {
			d, from := vendor{}.serve(t, name)
			_, err := d.Fetch(t.Context(), from, quiet)
			require.ErrorContains(t, err, "finding the image of "+name)
			requireNothingDownloaded(t, d)
		})
	}
	for _, name := range unsigned {
		d, from := all[name].files.serve(t, name)
		from.Keyring = keyring
		_, err := d.Fetch(t.Context(), from, quiet)
		require.ErrorContains(t, err, "image.keyring: this distribution does not sign its images")
	}
	for name, v := range vendors(t, stranger, content) {
		if name == unsigned[0] || name == unsigned[1] {
			continue
		}
		t.Run(name+" signed by a stranger", func(t *testing.T) {
			d, from := v.files.serve(t, name)
			from.Keyring = keyring
			_, err := d.Fetch(t.Context(), from, quiet)
			require.ErrorContains(t, err, "the signature of")
			requireNothingDownloaded(t, d)
		})
		t.Run(name+" list changed after it was signed", func(t *testing.T) {
			files := all[name].files
			changed := bytes.ReplaceAll(files[v.list], []byte(sum256(content)), []byte(sum256([]byte("evil"))))
			require.NotEqual(t, files[v.list], changed)
			evil := vendor{}
			for file, text := range files {
				evil[file] = text
			}
			evil[v.list] = changed
			d, from := evil.serve(t, name)
			from.Keyring = keyring
			_, err := d.Fetch(t.Context(), from, quiet)
			require.ErrorContains(t, err, "the signature of")
			requireNothingDownloaded(t, d)
		})
	}
}

// TestOnlyTheSignedPartOfAListCounts has digests around what is signed.
func TestOnlyTheSignedPartOfAListCounts(t *testing.T) {
	content, evil := []byte("a cloud image"), []byte("another image")
	key, keyring := newKey(t)
	v := vendors(t, key, content)["fedora:43"]
	line := "SHA256 (Fedora-Cloud-Base-Generic-43-9.9.x86_64.qcow2) = " + sum256(evil) + "\n"
	v.files[v.list] = []byte(line + string(v.files[v.list]) + line)
	d, from := v.files.serve(t, "fedora:43")
	from.Keyring = keyring
	file, err := d.Fetch(t.Context(), from, quiet)
	require.NoError(t, err)
	requireContent(t, file, content)
}

// TestASignedListIsOfTheImage has a mirror serve the list of another release, which the
// distribution has signed too.
func TestASignedListIsOfTheImage(t *testing.T) {
	key, keyring := newKey(t)
	v := vendors(t, key, []byte("a cloud image"))["opensuse:15.6"]
	old := []byte(sum256([]byte("an old image")) + "  openSUSE-Leap-15.5-Minimal-VM.x86_64-15.5.0-Cloud-Build1.1.qcow2\n")
	v.files[v.list], v.files[v.list+".asc"] = old, armored(t, key, old)
	d, from := v.files.serve(t, "opensuse:15.6")
	from.Keyring = keyring
	_, err := d.Fetch(t.Context(), from, quiet)
	require.ErrorContains(t, err, "has no digest of openSUSE-Leap-15.6")
}

func requireNothingDownloaded(t *testing.T, d Distributions) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(d.Dir, "*"))
	require.NoError(t, err)
	for _, path := range left {
		require.Equal(t, ".lock", filepath.Ext(path))
	}
}

func TestKeyringsThatAreNone(t *testing.T) {
	d, from := vendor{}.serve(t, "ubuntu:24.04")
	for content, want := range map[string]string{"": "holds no public keys", "-----BEGIN": "holds no public keys"} {
		from.Keyring = filepath.Join(t.TempDir(), "keyring")
		_, err := d.Fetch(t.Context(), from, quiet)
		require.ErrorContains(t, err, "image.keyring: stat "+from.Keyring)
		require.NoError(t, os.WriteFile(from.Keyring, []byte(content), 0o600))
		_, err = d.Fetch(t.Context(), from, quiet)
		require.ErrorContains(t, err, want)
	}
}

func TestNewestComparesNumbers(t *testing.T) {
	name, found := newest("a-*.img", []string{"a-9.2.img", "a-9.10-2.img", "a-9.10-11.img", "b-99.img", "a-latest.img"})
	require.True(t, found)
	require.Equal(t, "a-9.10-11.img", name)
	_, found = newest("a-*.img", []string{"b"})
	require.False(t, found)
}

func FuzzDigests(f *testing.F) {
	f.Add([]byte(sum256(nil) + "  a\nSHA512 (b) = " + sum512(nil)))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, digest := range parseDigests(text) {
			require.Contains(t, []int{64, 128}, len(digest))
		}
		parseIndex(text)
	})
}
