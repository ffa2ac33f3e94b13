//go:build linux

package oci

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/cache"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/source"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/signature"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/registry"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/sandbox"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m, func() func() { return func() {} })) }

const agent = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// host is a state directory.
type host struct {
	dir string
	Options
}

func newHost(t *testing.T) *host {
	dir := t.TempDir()
	return &host{dir, Options{Images: filepath.Join(dir, "images"), Downloads: filepath.Join(dir, "downloads"),
		PlainHTTP: true, Retry: time.Millisecond}}
}

func (h *host) registry() *Registry { return New(h.Options) }

// diskBytes is the size of the disks that are pushed here: 6 MiB in 64, with holes.
const diskBytes = 64 << 20

// noise is what no compression makes smaller.
func noise(seed uint64, size int) []byte {
	bytes := make([]byte, size)
	random := mathrand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = random.Read(bytes)
	return bytes
}

func recipe(name string) image.Recipe {
	return image.Recipe{Source: image.Source{Kind: image.Debootstrap, Suite: name}, User: "mayfly", Disk: diskBytes,
		AgentSHA256: agent}
}

// build makes a golden image whose disk is changed by a function.
func (h *host) build(t *testing.T, name string, change func(disk *os.File)) image.Golden {
	t.Helper()
	fill := func(_ context.Context, work string) (string, error) {
		golden := image.Golden{Dir: work}
		disk, err := os.Create(golden.Disk())
		require.NoError(t, err)
		for i := range 3 {
			_, err := disk.WriteAt(noise(uint64(i), 2<<20), int64(i)*20<<20)
			require.NoError(t, err)
		}
		change(disk)
		require.NoError(t, disk.Truncate(diskBytes))
		require.NoError(t, disk.Close())
		require.NoError(t, os.WriteFile(golden.Kernel(), noise(100, 1<<20), 0o600))
		require.NoError(t, os.WriteFile(golden.Initrd(), noise(101, 100), 0o600))
		return "root=/dev/vda", nil
	}
	golden, err := cache.New(h.Images).Build(t.Context(), recipe(name), fill)
	require.NoError(t, err)
	return golden
}

func unchanged(*os.File) {}

func (h *host) push(t *testing.T, golden image.Golden, reference string) string {
	t.Helper()
	digest, err := h.registry().Push(t.Context(), golden, reference, "", silent)
	require.NoError(t, err)
	return digest
}

func silent(string, string) {}

func contents(t *testing.T, golden image.Golden) (all []byte) {
	t.Helper()
	for _, path := range []string{golden.Disk(), golden.Kernel(), golden.Initrd()} {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		all = append(all, text...)
	}
	return all
}

func taken(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

func TestPushedImageIsTheSameElsewhere(t *testing.T) {
	server := registry.Start(t)
	one, other, third := newHost(t), newHost(t), newHost(t)
	golden := one.build(t, "trixie", unchanged)
	reference := server.Host + "/mayfly/debian:13"
	digest := one.push(t, golden, reference)
	require.Greater(t, server.Counts().Sent, int64(7<<20))

	var said []string
	pulled, err := other.registry().Pull(t.Context(), reference, agent,
		func(stage, line string) { said = append(said, stage+": "+line) })
	require.NoError(t, err)
	require.Equal(t, golden.Digest, pulled.Digest)
	require.Equal(t, golden.Root, pulled.Root)
	require.True(t, bytes.Equal(contents(t, golden), contents(t, pulled)))
	require.LessOrEqual(t, taken(t, pulled.Disk()), taken(t, golden.Disk()), "holes stay holes")
	info, err := os.Stat(pulled.Disk())
	require.NoError(t, err)
	require.EqualValues(t, 0o444, info.Mode().Perm(), "sealed")
	require.Contains(t, strings.Join(said, "\n"), "pull disk.raw: 100 % of 6.3 MB, 6.3 MB fetched")
	left, err := filepath.Glob(filepath.Join(other.Downloads, "*.part"))
	require.NoError(t, err)
	require.Empty(t, left)

	// By digest, and as the pool asks for it.
	want := recipe("")
	want.Source = image.Source{Kind: image.OCI, Location: server.Host + "/mayfly/debian@" + digest}
	pulled, err = third.registry().Golden(t.Context(), want, silent)
	require.NoError(t, err)
	require.Equal(t, golden.Digest, pulled.Digest)

	// What was pulled is pushed again as the same artifact, and nothing of it is sent.
	server.Counts()
	require.Equal(t, digest, third.push(t, pulled, server.Host+"/mayfly/debian:again"))
	require.Less(t, server.Counts().Sent, int64(64<<10))
	server.Counts()
	_, err = third.registry().Pull(t.Context(), reference, agent, silent)
	require.NoError(t, err)
	require.Equal(t, 1, server.Counts().Blobs, "it is here: only the config is read")
}

// A change of a megabyte costs little to push and to pull.
func TestUnchangedChunksAreNotSentAgain(t *testing.T) {
	server := registry.Start(t)
	one, other := newHost(t), newHost(t)
	reference := server.Host + "/mayfly/debian:13"
	grown := func(disk *os.File) {
		_, err := disk.WriteAt(noise(8, 24<<20), 4<<20)
		require.NoError(t, err)
	}
	one.push(t, one.build(t, "one", grown), reference)
	first := server.Counts().Sent
	_, err := other.registry().Pull(t.Context(), reference, agent, silent)
	require.NoError(t, err)
	all := server.Counts().Blobs

	changed := one.build(t, "two", func(disk *os.File) {
		grown(disk)
		_, err := disk.WriteAt(noise(7, 1<<20), 32<<20) // where there was a hole
		require.NoError(t, err)
	})
	one.push(t, changed, reference)
	second := server.Counts().Sent
	require.Greater(t, second, int64(1<<20))
	require.LessOrEqual(t, second, first/20, "of %d bytes", first)
	pulled, err := other.registry().Pull(t.Context(), reference, agent, silent)
	require.NoError(t, err)
	require.Equal(t, changed.Digest, pulled.Digest)
	require.True(t, bytes.Equal(contents(t, changed), contents(t, pulled)))
	require.Less(t, server.Counts().Blobs, all/5, "the rest was in the image that is here")
}

func TestTreesTravelToo(t *testing.T) {
	sandbox.Need(t)
	server := registry.Start(t)
	one, other := newHost(t), newHost(t)
	asked := recipe("tree")
	asked.Form = image.ShiftedTree
	grow := func(name string, extra []byte) image.Golden {
		asked.Source.Suite = name
		fill := func(_ context.Context, work string) (string, error) {
			golden := image.Golden{Dir: work}
			bin := filepath.Join(golden.Tree(), "usr/bin")
			require.NoError(t, os.MkdirAll(bin, 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(bin, "a"), extra, 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(bin, "b"), noise(1, 20<<20), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(bin, "sudo"), nil, 0o755))
			require.NoError(t, os.Chown(filepath.Join(bin, "sudo"), image.ShiftedBase, image.ShiftedBase))
			require.NoError(t, syscall.Chmod(filepath.Join(bin, "sudo"), 0o4755))
			require.NoError(t, os.Chtimes(filepath.Join(bin, "b"), time.Unix(1, 0), time.Unix(1, 0)))
			require.NoError(t, os.WriteFile(golden.Disk(), noise(2, 5000), 0o600))
			return "", os.Truncate(golden.Disk(), diskBytes)
		}
		golden, err := cache.New(one.Images).Build(t.Context(), asked, fill)
		require.NoError(t, err)
		return golden
	}
	reference := server.Host + "/mayfly/tree:1"
	one.push(t, grow("one", nil), reference)
	first := server.Counts().Sent
	want := grow("two", noise(9, 1<<20)) // all that comes after it in the stream is elsewhere
	one.push(t, want, reference)
	require.Less(t, server.Counts().Sent, first/5, "of %d bytes", first)

	pulled, err := other.registry().Pull(t.Context(), reference, agent, silent)
	require.NoError(t, err)
	require.Equal(t, want.Digest, pulled.Digest)
	text, err := os.ReadFile(filepath.Join(pulled.Tree(), "usr/bin/b"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(noise(1, 20<<20), text))
	info, err := os.Stat(filepath.Join(pulled.Tree(), "usr/bin/sudo"))
	require.NoError(t, err)
	require.Equal(t, os.ModeSetuid|0o755, info.Mode())
	require.EqualValues(t, image.ShiftedBase, info.Sys().(*syscall.Stat_t).Uid)
}

func TestPullThatWasCutGoesOn(t *testing.T) {
	server := registry.Start(t)
	one, other := newHost(t), newHost(t)
	reference := server.Host + "/mayfly/debian:13"
	one.push(t, one.build(t, "one", unchanged), reference)
	_, err := newHost(t).registry().Pull(t.Context(), reference, agent, silent)
	require.NoError(t, err)
	all := server.Counts().Blobs

	given := 0
	server.Meddle(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		if given++; given <= all/2 {
			return false
		}
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	server.Counts()
	_, err = other.registry().Pull(t.Context(), reference, agent, silent)
	require.ErrorContains(t, err, "502")
	goldens, err := cache.New(other.Images).List()
	require.NoError(t, err)
	require.Empty(t, goldens, "nothing is half made")
	leftovers, err := source.HTTPS{Dir: other.Downloads}.Unfinished()
	require.NoError(t, err)
	require.Len(t, leftovers, 1, "whoever wants room finds what came")
	require.Contains(t, leftovers[0].What, "unfinished download oci-")
	require.Positive(t, leftovers[0].Bytes)
	server.Meddle(nil)
	server.Counts()
	pulled, err := other.registry().Pull(t.Context(), reference, agent, silent)
	require.NoError(t, err)
	require.Less(t, server.Counts().Blobs, all, "what came is not fetched again")
	require.True(t, bytes.Equal(contents(t, one.build(t, "one", unchanged)), contents(t, pulled)))
}

// A registry that begins an answer and does not go on is given up, and asked again.
func TestRequestThatStallsIsMadeAgain(t *testing.T) {
	server := registry.Start(t)
	one, other := newHost(t), newHost(t)
	tag := server.Host + "/mayfly/debian:13"
	one.push(t, one.build(t, "one", unchanged), tag)
	stalled := 0
	server.Meddle(func(w http.ResponseWriter, r *http.Request) bool {
		if stalled > 0 || r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		stalled++
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done() // which ends when the client gives up
		return true
	})
	defer server.Meddle(nil)
	other.Limit = 3 * time.Second
	_, err := other.registry().Pull(t.Context(), tag, agent, silent)
	require.NoError(t, err)
	require.Equal(t, 1, stalled)
}

func TestImageThatHasNoRoomIsNotFetched(t *testing.T) {
	server := registry.Start(t)
	one := newHost(t)
	tag := server.Host + "/mayfly/debian:13"
	one.push(t, one.build(t, "one", unchanged), tag)
	small := sandbox.NewDisk(t, 4<<20)
	other := newHost(t)
	other.Images, other.Downloads = filepath.Join(small.Dir, "images"), filepath.Join(small.Dir, "downloads")
	server.Counts()
	_, err := other.registry().Pull(t.Context(), tag, agent, silent)
	require.ErrorContains(t, err, "are free")
	require.Equal(t, 1, server.Counts().Blobs)
}

func TestRequestsThatFailOnceAreMadeAgain(t *testing.T) {
	server := registry.Start(t)
	seen := make(map[string]bool)
	server.Meddle(func(w http.ResponseWriter, r *http.Request) bool {
		key := r.Method + r.URL.Path
		if seen[key] || strings.Contains(r.URL.RawQuery, "_state") {
			return false
		}
		seen[key] = true
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	defer server.Meddle(nil)
	one := newHost(t)
	golden := one.build(t, "one", unchanged)
	one.push(t, golden, server.Host+"/mayfly/debian:13")
}

// TestWhatWasChangedIsRefused changes what a registry has, in each place.
func TestWhatWasChangedIsRefused(t *testing.T) {
	server := registry.Start(t)
	one := newHost(t)
	reference := server.Host + "/mayfly/debian:13"
	digest := one.push(t, one.build(t, "one", unchanged), reference)
	text, err := os.ReadFile(server.Blob(digest))
	require.NoError(t, err)
	var manifest ocispec.Manifest
	require.NoError(t, json.Unmarshal(text, &manifest))
	// What the registry checks itself it is not asked for here: it gives what its file has.
	serve := func(digest string, change func([]byte) []byte) {
		server.Meddle(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, digest) {
				return false
			}
			text, err := os.ReadFile(server.Blob(digest))
			if err != nil {
				panic(err)
			}
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			w.Header().Set("Docker-Content-Digest", digest)
			_, _ = w.Write(change(text))
			return true
		})
	}
	flip := func(text []byte) []byte { text[len(text)/2] ^= 1; return text }
	cut := func(text []byte) []byte { return text[:len(text)/2] }
	for name, c := range map[string]struct {
		digest string
		change func([]byte) []byte
	}{
		"chunk":           {manifest.Layers[5].Digest.String(), flip},
		"chunk cut short": {manifest.Layers[5].Digest.String(), cut},
		"config":          {manifest.Config.Digest.String(), flip},
		"manifest":        {digest, flip},
		"other manifest": {digest, func(text []byte) []byte {
			one, other := manifest.Layers[0].Digest.Encoded(), manifest.Layers[1].Digest.Encoded()
			return bytes.Replace(text, []byte(one), []byte(other), 1)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			serve(c.digest, c.change)
			defer server.Meddle(nil)
			other := newHost(t)
			_, err := other.registry().Pull(t.Context(), reference, agent, silent)
			require.Error(t, err)
			t.Log(err)
			goldens, err := cache.New(other.Images).List()
			require.NoError(t, err)
			require.Empty(t, goldens)
			work, err := filepath.Glob(filepath.Join(other.Images, ".building-*"))
			require.NoError(t, err)
			require.Empty(t, work)
		})
	}
}

func TestOnlyWhatTheKeyHasSignedIsTaken(t *testing.T) {
	server := registry.Start(t)
	one := newHost(t)
	golden := one.build(t, "one", unchanged)
	private, public := registry.Keys(t)
	stranger, _ := registry.Keys(t)
	reference := server.Host + "/mayfly/debian:13"
	pull := func(t *testing.T) error {
		other := newHost(t)
		other.VerifyKey = public
		_, err := other.registry().Pull(t.Context(), reference, agent, silent)
		return err
	}
	push := func(key string) string {
		digest, err := one.registry().Push(t.Context(), golden, reference, key, silent)
		require.NoError(t, err)
		return digest
	}
	push("")
	require.ErrorContains(t, pull(t), "it is not signed")
	push(stranger)
	require.ErrorContains(t, pull(t), "none of its signatures is by the key")
	digest := push(private)
	require.NoError(t, pull(t))

	// A good signature of another artifact, at this one's place.
	signature := signatureOf(digest)
	second := one.build(t, "two", unchanged)
	otherDigest, err := one.registry().Push(t.Context(), second, server.Host+"/mayfly/debian:other", private, silent)
	require.NoError(t, err)
	copied := get(t, server.Host, signatureOf(otherDigest))
	put(t, server.Host, signature, copied)
	require.ErrorContains(t, pull(t), "its signature is of another artifact")

	// A signature whose bytes were changed.
	var manifest ocispec.Manifest
	require.NoError(t, json.Unmarshal(copied, &manifest))
	text, err := base64.StdEncoding.DecodeString(manifest.Layers[0].Annotations[signatureAnnotation])
	require.NoError(t, err)
	text[len(text)-1] ^= 1
	manifest.Layers[0].Annotations[signatureAnnotation] = base64.StdEncoding.EncodeToString(text)
	changed, err := json.Marshal(manifest)
	require.NoError(t, err)
	put(t, server.Host, signature, changed)
	require.ErrorContains(t, pull(t), "none of its signatures is by the key")
}

// signatureOf is where the signature of an artifact is.
func signatureOf(digest string) string {
	return "/v2/mayfly/debian/manifests/sha256-" + strings.TrimPrefix(digest, "sha256:") + ".sig"
}

func get(t *testing.T, host, path string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+path, nil)
	require.NoError(t, err)
	request.Header.Set("Accept", ocispec.MediaTypeImageManifest)
	return do(t, request, http.StatusOK)
}

func put(t *testing.T, host, path string, text []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+host+path, bytes.NewReader(text))
	require.NoError(t, err)
	request.Header.Set("Content-Type", ocispec.MediaTypeImageManifest)
	do(t, request, http.StatusCreated)
}

func do(t *testing.T, request *http.Request, want int) []byte {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	var text bytes.Buffer
	_, err = text.ReadFrom(response.Body)
	require.NoError(t, err)
	require.Equal(t, want, response.StatusCode, text.String())
	return text.Bytes()
}

// TestSignatureHasTheFormOfCosign holds the form that cosign has for signatures by a key.
func TestSignatureHasTheFormOfCosign(t *testing.T) {
	server := registry.Start(t)
	one := newHost(t)
	private, public := registry.Keys(t)
	golden := one.build(t, "one", unchanged)
	digest, err := one.registry().Push(t.Context(), golden, server.Host+"/mayfly/debian:13", private, silent)
	require.NoError(t, err)
	var manifest ocispec.Manifest
	require.NoError(t, json.Unmarshal(get(t, server.Host, signatureOf(digest)), &manifest))
	require.Len(t, manifest.Layers, 1)
	require.Equal(t, "application/vnd.dev.cosign.simplesigning.v1+json", manifest.Layers[0].MediaType)
	text := get(t, server.Host, "/v2/mayfly/debian/blobs/"+manifest.Layers[0].Digest.String())
	require.JSONEq(t, fmt.Sprintf(`{"critical": {"identity": {"docker-reference": "%s/mayfly/debian"},
		"image": {"docker-manifest-digest": %q}, "type": "cosign container image signature"}, "optional": null}`,
		server.Host, digest), string(text))
	key, err := signature.ReadPublicKey(public)
	require.NoError(t, err)
	require.Len(t, signature.Fingerprint(key), 64)
}

func TestLoginsAreThoseOfDocker(t *testing.T) {
	server := registry.StartWithLogin(t, "ci", "secret")
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	one := newHost(t)
	golden := one.build(t, "one", unchanged)
	_, err := one.registry().Push(t.Context(), golden, server.Host+"/mayfly/debian:13", "", silent)
	require.ErrorContains(t, err, "credential")
	config := filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json")
	secret := base64.StdEncoding.EncodeToString([]byte("ci:secret"))
	login := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, server.Host, secret)
	require.NoError(t, os.WriteFile(config, []byte(login), 0o600))
	one.push(t, golden, server.Host+"/mayfly/debian:13")

	// A service has no HOME.
	t.Setenv("HOME", "")
	path, err := dockerConfig()
	require.NoError(t, err)
	require.Equal(t, config, path)
	docker := os.Getenv("DOCKER_CONFIG")
	t.Setenv("DOCKER_CONFIG", "")
	path, err = dockerConfig()
	require.NoError(t, err)
	require.Regexp(t, `^/.*/\.docker/config\.json$`, path)
	t.Setenv("DOCKER_CONFIG", docker)

	// By a helper, as `docker login` sets it up with a store of the system.
	bin := t.TempDir()
	helper := "#!/bin/sh\ncat >/dev/null\necho '{\"ServerURL\": \"x\", \"Username\": \"ci\", \"Secret\": \"secret\"}'\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte(helper), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	require.NoError(t, os.WriteFile(config, []byte(`{"credsStore": "test"}`), 0o600))
	_, err = newHost(t).registry().Pull(t.Context(), server.Host+"/mayfly/debian:13", agent, silent)
	require.NoError(t, err)
}

func TestPlainHTTPIsOnlyUsedWhenAskedFor(t *testing.T) {
	server := registry.Start(t)
	one := newHost(t)
	golden := one.build(t, "one", unchanged)
	one.PlainHTTP = false
	_, err := one.registry().Push(t.Context(), golden, server.Host+"/mayfly/debian:13", "", silent)
	require.ErrorContains(t, err, "image.plain_http")
	require.Zero(t, server.Counts().Sent)
}

// A pool whose registry is away goes on with what its tag meant before.
func TestImageServesOnWhileTheRegistryIsAway(t *testing.T) {
	server := registry.Start(t)
	one, other := newHost(t), newHost(t)
	tag := server.Host + "/mayfly/debian:13"
	one.push(t, one.build(t, "one", unchanged), tag)
	want := recipe("")
	want.Source = image.Source{Kind: image.OCI, Location: tag}
	first, err := other.registry().Golden(t.Context(), want, silent)
	require.NoError(t, err)
	newer := one.build(t, "two", unchanged)
	one.push(t, newer, tag)
	second, err := other.registry().Golden(t.Context(), want, silent)
	require.NoError(t, err)
	require.Equal(t, newer.Digest, second.Digest, "the tag was changed")
	require.NotEqual(t, first.Digest, second.Digest)
	server.Stop()
	var said []string
	again, err := other.registry().Golden(t.Context(), want, func(stage, _ string) { said = append(said, stage) })
	require.NoError(t, err)
	require.Equal(t, newer.Digest, again.Digest)
	require.Contains(t, strings.Join(said, "\n"), "is what it meant before")
	want.Source.Location = server.Host + "/mayfly/debian:14"
	_, err = other.registry().Golden(t.Context(), want, silent)
	require.ErrorContains(t, err, "looking for "+server.Host)
}

// Two builds of one recipe have the same digest. What is here is not taken for another.
func TestOtherBuildOfTheSameRecipeIsNotTakenForIt(t *testing.T) {
	server := registry.Start(t)
	one, other := newHost(t), newHost(t)
	tag := server.Host + "/mayfly/debian:13"
	digest := one.push(t, one.build(t, "one", unchanged), tag)
	mine := other.build(t, "one", func(disk *os.File) { _, _ = disk.WriteAt([]byte("mine"), 0) })
	var said []string
	pulled, err := other.registry().Pull(t.Context(), tag, agent, func(stage, _ string) { said = append(said, stage) })
	require.NoError(t, err)
	require.Equal(t, mine.Dir, pulled.Dir)
	require.Contains(t, strings.Join(said, "\n"), "was built here")
	_, err = other.registry().Pull(t.Context(), server.Host+"/mayfly/debian@"+digest, agent, silent)
	require.ErrorContains(t, err, "image rm "+mine.Digest)
}

// The recipe is in the artifact, for all who may pull it.
func TestPasswordsInAddressesAreNotPushed(t *testing.T) {
	server := registry.Start(t)
	one := newHost(t)
	golden := one.build(t, "one", unchanged)
	for setting, change := range map[string]func(*image.Recipe){
		"image.proxy": func(r *image.Recipe) { r.Proxy = "http://ci:word@192.0.2.1:3128" },
		"image.source": func(r *image.Recipe) {
			r.Source = image.Source{Kind: image.HTTPS, Location: "https://example.org/disk.raw?token=word"}
		},
	} {
		secret := golden
		change(&secret.Recipe)
		server.Counts()
		_, err := one.registry().Push(t.Context(), secret, server.Host+"/mayfly/debian:13", "", silent)
		require.ErrorContains(t, err, setting+" has a user, a password or a query")
		require.NotContains(t, err.Error(), "word@")
		require.Zero(t, server.Counts().Sent)
	}
}

func TestImageMustBeWhatThePoolAsksFor(t *testing.T) {
	have := recipe("trixie")
	for name, c := range map[string]struct {
		change func(*image.Recipe)
		want   string
	}{
		"user":     {func(r *image.Recipe) { r.User = "ci" }, `set connector_config.username to "mayfly"`},
		"disk":     {func(r *image.Recipe) { r.Disk = 1 << 30 }, `set machine.disk to "64MiB"`},
		"form":     {func(r *image.Recipe) { r.Form = image.ShiftedTree }, "it is a disk for virtual machines"},
		"agent":    {func(r *image.Recipe) { r.AgentSHA256 = "f" }, "another build of this program"},
		"packages": {func(r *image.Recipe) { r.Packages = []string{"git"} }, "this one is finished"},
		"run":      {func(r *image.Recipe) { r.Run = []string{"true"} }, "this one is finished"},
		"files":    {func(r *image.Recipe) { r.Files = []image.File{{Path: "/a"}} }, "this one is finished"},
		"proxy":    {func(r *image.Recipe) { r.Proxy = "http://192.0.2.1:3128" }, "this one is finished"},
	} {
		t.Run(name, func(t *testing.T) {
			want := recipe("")
			want.Source = image.Source{Kind: image.OCI, Location: "example.org/a:1"}
			require.NoError(t, fits(have, want))
			c.change(&want)
			require.ErrorContains(t, fits(have, want), c.want)
		})
	}
}

func TestAgentOfAnotherBuildIsRefusedBeforeAnythingIsFetched(t *testing.T) {
	server := registry.Start(t)
	one, other := newHost(t), newHost(t)
	tag := server.Host + "/mayfly/debian:13"
	one.push(t, one.build(t, "one", unchanged), tag)
	server.Counts()
	_, err := other.registry().Pull(t.Context(), tag, strings.Repeat("f", 64), silent)
	require.ErrorContains(t, err, "use the same build on all hosts")
	require.Equal(t, 1, server.Counts().Blobs)
}
