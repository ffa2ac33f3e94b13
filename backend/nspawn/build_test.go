//go:build linux

package nspawn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/stage"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image/prebuild"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

func TestBuildShowsItsStepsAndSealsTheTree(t *testing.T) {
	p, recipe := newPool(t, btrfsDir, "shared")
	s, err := share()
	require.NoError(t, err)
	for _, want := range []string{
		"packages", "step 1 of 5", "$ echo 'a: b' >/etc/mayfly-step", "step 5 of 5", "check", "seal",
	} {
		require.Contains(t, s.progress, want)
	}
	require.Contains(t, s.progress, "secret: [hidden]")
	golden, err := p.Build(t.Context(), recipe, func(string, string) {})
	require.NoError(t, err)
	// it fails when it finds nothing
	found, _ := exec.Command("sh", "-c", `grep -rlF "$0" "$1"`, testrun.Secret, golden.Dir).CombinedOutput()
	require.Empty(t, string(found))
	require.NotContains(t, s.progress, testrun.Secret)
	for name, want := range map[string]string{"etc/mayfly-step": "a: b\n", "etc/machine-id": ""} {
		text, err := os.ReadFile(filepath.Join(golden.Tree(), name))
		require.NoError(t, err)
		require.Equal(t, want, string(text))
	}
	for _, gone := range []string{"etc/ssh/ssh_host_*", "root/.ssh", "boot/vmlinuz-*", "var/log/*.log"} {
		found, err := filepath.Glob(filepath.Join(golden.Tree(), gone))
		require.NoError(t, err)
		require.Empty(t, found)
	}
	info, err := os.Stat(filepath.Join(golden.Tree(), "usr/bin/sudo"))
	require.NoError(t, err)
	require.EqualValues(t, image.ShiftedBase, info.Sys().(*syscall.Stat_t).Uid, "root of containers is nobody on the host")
	require.NotZero(t, info.Mode()&os.ModeSetuid)
}

// prebuildAgain runs the prebuild once more, with other steps.
func prebuildAgain(t *testing.T, p *pool, recipe image.Recipe, steps ...string) error {
	t.Helper()
	_, err := prebuildOn(t, p, recipe, func(r *image.Recipe) { r.Run = steps })
	return err
}

// prebuildOn runs the prebuild of a recipe that is changed, on an overlay of the golden
// tree: making that from packages again would take a minute.
func prebuildOn(t *testing.T, p *pool, recipe image.Recipe, change func(*image.Recipe)) (image.Golden, error) {
	t.Helper()
	golden, err := p.Build(t.Context(), recipe, func(string, string) {})
	require.NoError(t, err)
	draft := image.Golden{Dir: t.TempDir(), Manifest: image.Manifest{Recipe: recipe}}
	draft.Recipe.Secrets = nil
	change(&draft.Recipe)
	upper, work := filepath.Join(draft.Dir, "upper"), filepath.Join(draft.Dir, "work")
	m := overlay([]string{golden.Tree()}, upper, work, draft.Tree())
	require.NoError(t, errors.Join(
		os.Mkdir(upper, 0o755), os.Chown(upper, image.ShiftedBase, image.ShiftedBase),
		os.Mkdir(work, 0o700), os.Mkdir(draft.Tree(), 0o700)))
	require.NoError(t, unix.Mount(m.source, m.target, m.kind, 0, m.options))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(draft.Tree(), 0)) })
	require.NoError(t, p.network.Open(t.Context()))
	t.Cleanup(func() { require.NoError(t, p.network.Close(context.Background())) })
	draft.Steps = draft.Recipe.Parts()[:1]
	return draft, p.stage().Run(t.Context(), "prebuild of "+draft.Dir, func(at stage.Place) error {
		unkept := func(context.Context, *guest.Client) error { return nil }
		return p.prebuild(t.Context(), at, &prebuild.Work{Golden: draft}, unkept, func(string, string) {})
	})
}

func TestFailingStepFailsTheBuildAndLeavesNothing(t *testing.T) {
	p, recipe := newPool(t, btrfsDir, "failing")
	err := prebuildAgain(t, p, recipe, "echo first", "echo the reason; (sleep 600 >/dev/null 2>&1 &); exit 7")
	for _, want := range []string{"step 2 of 2", "image.run[1]", "exit code 7", "the reason"} {
		require.ErrorContains(t, err, want)
	}
	requireNothingLeft(t, p)
}

func TestStepsRunAsRootOfAContainerWithANetwork(t *testing.T) {
	p, recipe := newPool(t, btrfsDir, "steps")
	require.NoError(t, prebuildAgain(t, p, recipe,
		"test $(id -u) = 0", "test $(pwd) = /", "ip route get 192.0.2.1 | grep -q 'via 198.18.0.1'",
		"test $(cut -d' ' -f1 /proc/self/uid_map | wc -l) = 1", "! grep -q ' 4294967295$' /proc/self/uid_map"))
	requireNothingLeft(t, p)
}

// TestWorkersKnowTheProxyAndTrustTheCertificates has a certificate of its own.
func TestWorkersKnowTheProxyAndTrustTheCertificates(t *testing.T) {
	const proxy = "http://ci:word@192.0.2.3:3128"
	const settings = "test \"$http_proxy $https_proxy $no_proxy\" = '" + proxy + " " + proxy + " " +
		"localhost,127.0.0.1,::1,.lan'"
	const trusted = "openssl verify -CApath /etc/ssl/certs -no-CAfile /usr/local/share/ca-certificates/mayfly-1.crt"
	const apt = "apt-config dump Acquire::http::Proxy | grep -qF '" + proxy + "'"
	p, recipe := newPool(t, ext4Dir, "reach")
	draft, err := prebuildOn(t, p, recipe, func(r *image.Recipe) {
		r.Proxy, r.NoProxy, r.Certificates = proxy, []string{".lan"}, []string{certificate(t)}
		r.Run = []string{settings, trusted, apt}
	})
	require.NoError(t, err)
	require.NoError(t, makeDisk(t.Context(), draft))
	w := p.startFrom(t, draft, "aaaaaaaa")
	for _, command := range []string{settings, trusted, apt} {
		w.Output(t, command)
	}
}

// certificate is one of an authority that nobody knows.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Mayfly's tests"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, key.Public(), key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// requireNothingLeft wants no trace of the pool's containers on the host.
func requireNothingLeft(t testing.TB, p *pool) {
	t.Helper()
	ctx := context.Background() // also at the end of a test
	machines, err := p.again().Find(ctx)
	require.NoError(t, err)
	require.Empty(t, machines)
	leases, err := p.network.Find(ctx)
	require.NoError(t, err)
	require.Empty(t, leases)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), filepath.Join(p.dir, "workers"))
	require.NotContains(t, loopDevices(t), filepath.Join(p.dir, "workers"))
	workers, err := os.ReadDir(filepath.Join(p.dir, "workers"))
	require.NoError(t, err)
	require.Empty(t, workers)
}

// loopDevices are the files that loop devices use.
func loopDevices(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "cat /sys/block/loop*/loop/backing_file").Output()
	if failed := (&exec.ExitError{}); err != nil && !errors.As(err, &failed) { // a device may go meanwhile
		require.NoError(t, err)
	}
	return string(out)
}

func TestCloudImagesAreRefusedByTheirKey(t *testing.T) {
	b := New(Options{Source: image.HTTPS, ImagesDir: t.TempDir()})
	_, err := b.Build(t.Context(), image.Recipe{Source: image.Source{Kind: image.HTTPS}, Form: image.Tree}, func(string, string) {})
	require.ErrorContains(t, err, "image.source")
	require.ErrorContains(t, err, image.Debootstrap)
	_, err = b.Build(t.Context(), image.Recipe{Form: image.Disk}, func(string, string) {})
	require.ErrorContains(t, err, "tree")
	var said []string
	for _, f := range b.Check(t.Context()) {
		said = append(said, f.String())
	}
	require.Contains(t, strings.Join(said, "\n"), "missing  image.source")
}
