//go:build linux

package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// recorder is a kernel that writes down what is done to it, in order.
type recorder struct {
	mu    sync.Mutex // what ends by itself is recorded at any time
	calls []string
	fail  string
	slow  string // takes a second
}

func (r *recorder) call(name string) error {
	r.mu.Lock()
	r.calls = append(r.calls, name)
	r.mu.Unlock()
	if name == r.slow {
		time.Sleep(time.Second)
	}
	if name == r.fail {
		return errors.New("the kernel says no")
	}
	return nil
}

// noted are the calls so far, while there may be more.
func (r *recorder) noted() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

func (r *recorder) Reseed(entropy []byte) error { return r.call("reseed") }
func (r *recorder) SetTime(time.Time) error     { return r.call("time") }
func (r *recorder) SetHostname(string) error    { return r.call("hostname") }
func (r *recorder) SetUpNetwork() error         { return r.call("network") }
func (r *recorder) LeaveNetwork() error         { return r.call("leave") }
func (r *recorder) RestartResolver() error      { return r.call("resolver") }
func (r *recorder) Freeze() (func() error, error) {
	return func() error { return r.call("thaw") }, r.call("freeze")
}

// usualLink is what the recorder writes down of the zero link.
const usualLink = "link of 0 bytes, IPv6 false"

func (r *recorder) FitNetwork(link guest.Link) error {
	return r.call(fmt.Sprintf("link of %d bytes, IPv6 %v", link.MTU, link.IPv6))
}

// serve runs an agent on one end of a pipe, in a root of its own, and returns
// the host's client on the other. Who counts its calls stops the clock: an agent
// that took its time is told the time again.
func serve(t *testing.T, kernel *recorder) (client *guest.Client, root string, conn net.Conn) {
	t.Helper()
	root = t.TempDir()
	host, inside := net.Pipe()
	a := &agent{root: root, log: slog.New(slog.DiscardHandler), kernel: kernel,
		ready: func() error { return kernel.call("ready") }}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = a.serve(context.Background(), inside)
	}()
	t.Cleanup(func() {
		_, _ = host.Close(), inside.Close() // reading then fails for good
		<-ended
	})
	return guest.NewClient(host), root, host
}

func identity(t *testing.T) guest.Identity {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	me, err := user.Current()
	require.NoError(t, err)
	return guest.Identity{
		Hostname:      "default-abcdefgh",
		MachineID:     strings.Repeat("ab", 16),
		HostKey:       string(pem.EncodeToMemory(block)),
		HostKeyPublic: "ssh-ed25519 AAAA",
		User:          me.Username,
		AuthorizedKey: "ssh-ed25519 BBBB",
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

func TestRekeyFitsTheNetworkBeforeAnybodyMayUseIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := &recorder{}
		client, _, _ := serve(t, kernel)
		id := identity(t)
		id.Link = guest.Link{MTU: 1400, IPv6: true}
		require.NoError(t, client.Rekey(t.Context(), id))
		require.Equal(t, []string{"network", "link of 1400 bytes, IPv6 true", "ready"}, kernel.calls[len(kernel.calls)-3:])
	})
}

func TestRekeyWritesTheIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := &recorder{}
		client, root, _ := serve(t, kernel)
		id := identity(t)
		require.NoError(t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, "etc/hosts"), []byte(registry), 0o600))
		require.NoError(t, client.Rekey(t.Context(), id))

		require.Equal(t, []string{"reseed", "time", "hostname", "network", usualLink, "ready"}, kernel.calls,
			"entropy comes first, readiness last")
		require.Equal(t, id.MachineID+"\n", read(t, filepath.Join(root, "etc/machine-id")))
		require.Equal(t, id.Hostname+"\n", read(t, filepath.Join(root, "etc/hostname")))
		require.Contains(t, read(t, filepath.Join(root, "etc/hosts")), "127.0.1.1 "+id.Hostname+" # mayfly\n")
		require.Contains(t, read(t, filepath.Join(root, "etc/hosts")), registry, "the image's own stay")
		require.Equal(t, "nameserver 198.18.0.1\n", read(t, filepath.Join(root, "etc/resolv.conf")))
		require.Equal(t, id.HostKey, read(t, filepath.Join(root, guest.HostKeyPath)))
		info, err := os.Stat(filepath.Join(root, guest.HostKeyPath))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		me, err := user.Current()
		require.NoError(t, err)
		require.Equal(t, id.AuthorizedKey+"\n", read(t, filepath.Join(root, me.HomeDir, ".ssh/authorized_keys")))
	})
}

// registry is a line that an image has in its hosts file.
const registry = "192.0.2.7 registry\n"

func TestForksHaveTheirIdentityInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := &recorder{}
		client, root, _ := serve(t, kernel)
		id := identity(t)
		me, err := user.Current()
		require.NoError(t, err)
		files := map[string]string{
			"etc/machine-id": id.MachineID + "\n", "etc/hostname": id.Hostname + "\n",
			"etc/hosts":       guest.HostsFile(registry, id.Hostname),
			guest.HostKeyPath: id.HostKey, guest.HostKeyPath + ".pub": id.HostKeyPublic + "\n",
			filepath.Join(me.HomeDir, ".ssh/authorized_keys"): id.AuthorizedKey + "\n",
		}
		require.NoError(t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, "etc/machine-id"), []byte("of the template"), 0o600))
		hosts := []byte("127.0.1.1 prebuild # mayfly\n" + registry)
		require.NoError(t, os.WriteFile(filepath.Join(root, "etc/hosts"), hosts, 0o600))

		require.NoError(t, client.Await(t.Context(), guest.Await{User: id.User}))
		require.Equal(t, []string{"network", usualLink}, kernel.calls)
		require.Empty(t, regularFiles(t, filepath.Join(root, "run"), "of the template"))
		require.NoError(t, client.Rekey(t.Context(), id))
		require.Equal(t, []string{"network", usualLink, "reseed", "time", "hostname", "ready"}, kernel.calls, "the network is there already")
		for name, content := range files {
			target, err := os.Readlink(filepath.Join(root, name))
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(target, "/run/"), target)
			require.Equal(t, content, read(t, filepath.Join(root, target)))
		}
		info, err := os.Stat(filepath.Join(root, memoryDir, guest.HostKeyPath))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	})
}

func TestGuestsLookNamesUpInTheDomainsOfTheirLink(t *testing.T) {
	for name, ownResolver := range map[string]bool{"by glibc": false, "by a resolver of their own": true} {
		t.Run(name, func(t *testing.T) {
			kernel := &recorder{}
			client, root, _ := serve(t, kernel)
			file := guest.ResolverPath
			if ownResolver {
				file = guest.ResolvedPath
				require.NoError(t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
				const stub = "../run/systemd/resolve/stub-resolv.conf"
				require.NoError(t, os.Symlink(stub, filepath.Join(root, guest.ResolverPath)))
			}
			id := identity(t)
			id.Link.Search = "corp.example.com lan"
			require.NoError(t, client.Await(t.Context(), guest.Await{User: id.User, Link: id.Link}))
			require.Regexp(t, `(?m)^(search |Domains=)corp\.example\.com lan$`, read(t, filepath.Join(root, file)))
			require.Equal(t, ownResolver, slices.Contains(kernel.calls, "resolver"))

			require.NoError(t, os.Remove(filepath.Join(root, file)))
			require.NoError(t, client.Rekey(t.Context(), id))
			require.NoFileExists(t, filepath.Join(root, file), "a fork has what its template was told")
		})
	}
}

func TestForksMendALinkThatIsNotTheTemplates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := &recorder{}
		client, _, _ := serve(t, kernel)
		id := identity(t)
		id.Link = guest.Link{MTU: 1400}
		common := guest.Await{User: id.User, Link: guest.Link{MTU: 1400, IPv6: true}}
		require.NoError(t, client.Await(t.Context(), common))
		require.NoError(t, client.Rekey(t.Context(), id))
		require.Equal(t, []string{"hostname", "link of 1400 bytes, IPv6 false", "ready"}, kernel.calls[len(kernel.calls)-3:])
	})
}

func TestForksOfAGuestWithSELinuxHaveTheirIdentityOnDisk(t *testing.T) {
	for enforce, onDisk := range map[string]bool{"1": true, "0": false} {
		client, root, _ := serve(t, &recorder{})
		require.NoError(t, os.MkdirAll(filepath.Join(root, "sys/fs/selinux"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, "sys/fs/selinux/enforce"), []byte(enforce), 0o600))
		id := identity(t)
		require.NoError(t, client.Await(t.Context(), guest.Await{User: id.User}))
		require.NoError(t, client.Rekey(t.Context(), id))
		info, err := os.Lstat(filepath.Join(root, "etc/hostname"))
		require.NoError(t, err)
		require.Equal(t, onDisk, info.Mode().IsRegular())
	}
}

func TestSlowRekeySetsTheClockAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := &recorder{slow: "network"}
		client, _, _ := serve(t, kernel)
		require.NoError(t, client.Rekey(t.Context(), identity(t)))
		require.Equal(t, []string{"reseed", "time", "hostname", "network", usualLink, "ready", "reseed", "time"}, kernel.calls)
	})
}

func TestWakeMendsClockAndEntropyAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := &recorder{}
		client, root, _ := serve(t, kernel)
		require.NoError(t, client.Wake(t.Context()))
		require.Equal(t, []string{"reseed", "time"}, kernel.calls)
		require.NoDirExists(t, filepath.Join(root, "etc"))
	})
}

func TestResolverOfTheGuestsOwnIsLeftAlone(t *testing.T) {
	kernel := &recorder{}
	client, root, _ := serve(t, kernel)
	require.NoError(t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
	require.NoError(t, os.Symlink("../run/systemd/resolve/stub-resolv.conf", filepath.Join(root, "etc/resolv.conf")))
	require.NoError(t, client.Network(t.Context()))
	require.Equal(t, []string{"network"}, kernel.calls)
	target, err := os.Readlink(filepath.Join(root, "etc/resolv.conf"))
	require.NoError(t, err)
	require.Equal(t, "../run/systemd/resolve/stub-resolv.conf", target)
}

func TestRekeyFailsClosed(t *testing.T) {
	for _, step := range []string{"reseed", "time", "hostname", "network", usualLink, "ready"} {
		t.Run(step, func(t *testing.T) {
			kernel := &recorder{fail: step}
			client, _, _ := serve(t, kernel)
			require.ErrorContains(t, client.Rekey(t.Context(), identity(t)), "the kernel says no")
			require.Equal(t, step, kernel.calls[len(kernel.calls)-1], "nothing is done after a failure")
		})
	}
}

func TestRunStreamsOutput(t *testing.T) {
	client, _, _ := serve(t, &recorder{})
	var output bytes.Buffer
	require.NoError(t, client.Run(t.Context(), "echo out; echo err >&2; echo $HOME", &output))
	require.Equal(t, "out\nerr\n/root\n", output.String())

	var exit *guest.ExitError
	require.ErrorAs(t, client.Run(t.Context(), "exit 7", io.Discard), &exit)
	require.Equal(t, 7, exit.Code)
	require.ErrorAs(t, client.Run(t.Context(), "kill -9 $$", io.Discard), &exit)
	require.Equal(t, 137, exit.Code)
}

func TestFetchSendsLargeFiles(t *testing.T) {
	client, root, _ := serve(t, &recorder{})
	content := bytes.Repeat([]byte("0123456789"), 3*guest.MaxChunk/10+7)
	path := filepath.Join(root, "kernel")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	var got bytes.Buffer
	require.NoError(t, client.Fetch(t.Context(), path, &got))
	require.True(t, bytes.Equal(content, got.Bytes()))
	require.ErrorContains(t, client.Fetch(t.Context(), path+"-", io.Discard), "no such file")
}

func TestLineThatIsNotARequestIsAnsweredAndTheAgentGoesOn(t *testing.T) {
	client, _, conn := serve(t, &recorder{})
	events := guest.NewReader(conn)
	for _, line := range []string{"rubbish\n", strings.Repeat("x", guest.MaxLine+1) + "\n"} {
		_, err := conn.Write([]byte(line))
		require.NoError(t, err)
		var event guest.Event
		require.NoError(t, events.Read(&event))
		require.NotEmpty(t, event.Error)
	}
	require.NoError(t, client.Run(t.Context(), "true", io.Discard))
}

func TestSealLeavesNothingThatMachinesMustNotShare(t *testing.T) {
	client, root, _ := serve(t, &recorder{})
	for _, name := range []string{
		"etc/ssh/ssh_host_rsa_key", "var/lib/systemd/random-seed", "var/lib/cloud/instance/x",
		"var/log/syslog", "var/log/apt/history.log", "root/.ssh/authorized_keys", "home/u/.ssh/id", "tmp/x", "tmp/.x",
	} {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte("secret"), 0o600))
	}
	require.NoError(t, client.Seal(t.Context()))
	require.NoError(t, client.Seal(t.Context()), "sealing twice is not an error")

	left := regularFiles(t, root, "secret")
	require.Empty(t, left)
	require.DirExists(t, filepath.Join(root, "var/log/apt"), "daemons expect their directories")
	require.Empty(t, read(t, filepath.Join(root, "etc/machine-id")))
	for unit, target := range map[string]string{
		"ssh.service": "/dev/null",
		"sysinit.target.wants/mayfly-agent.service": "../mayfly-agent.service",
		"../../tmpfiles.d/systemd-nologin.conf":     "/dev/null",
		"systemd-networkd-wait-online.service":      "/dev/null",
	} {
		got, err := os.Readlink(filepath.Join(root, "etc/systemd/system", unit))
		require.NoError(t, err)
		require.Equal(t, target, got, unit)
	}
	require.FileExists(t, filepath.Join(root, "etc/cloud/cloud-init.disabled"))
	unit := read(t, filepath.Join(root, "etc/systemd/system/mayfly-agent.service"))
	require.Contains(t, unit, "ExecStart="+guest.AgentPath+" guest\n")
}

// TestSealedLoginsRunNoScripts keeps what limits a job, and gives it its environment.
func TestSealedLoginsRunNoScripts(t *testing.T) {
	client, root, _ := serve(t, &recorder{})
	logins := filepath.Join(root, "etc/pam.d/sshd")
	require.NoError(t, os.MkdirAll(filepath.Dir(logins), 0o755))
	require.NoError(t, os.WriteFile(logins, []byte("@include common-session\n"+
		"# pam_motd.so, explained\nsession    optional     pam_motd.so  motd=/run/motd.dynamic\n"+
		"session    optional     pam_mail.so standard noenv # [1]\n"+
		"session    required     pam_limits.so\nsession    required     pam_env.so # [1]\n"), 0o644))
	require.NoError(t, client.Seal(t.Context()))
	require.Equal(t, "@include common-session\n# pam_motd.so, explained\n"+
		"session    required     pam_limits.so\nsession    required     pam_env.so # [1]\n", read(t, logins))
}

// TestSealedLoginsAskForNoSession has what Debian has.
func TestSealedLoginsAskForNoSession(t *testing.T) {
	client, root, _ := serve(t, &recorder{})
	logins := filepath.Join(root, "etc/pam.d/sshd")
	require.NoError(t, os.MkdirAll(filepath.Dir(logins), 0o755))
	require.NoError(t, os.WriteFile(logins, []byte("@include common-auth\n# Standard:\n@include common-session\n"+
		"session required pam_limits.so\n"), 0o644))
	common := "session [default=1] pam_permit.so\nsession required pam_unix.so \n" +
		"session optional pam_systemd.so \n# end\n"
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/pam.d/common-session"), []byte(common), 0o644))
	for range 2 {
		require.NoError(t, client.Seal(t.Context()))
		require.Equal(t, "@include common-auth\n# Standard:\nsession [default=1] pam_permit.so\n"+
			"session required pam_unix.so \n# end\n\nsession required pam_limits.so\n", read(t, logins))
	}
	require.Equal(t, common, read(t, filepath.Join(root, "etc/pam.d/common-session")), "others, such as su, have one")
}

func TestSealedImagesHaveALanguageUnlessTheyHadOne(t *testing.T) {
	for name, test := range map[string]struct{ file, text, environment string }{
		"none":             {"etc/environment", "", "LANG=C.UTF-8\n"},
		"another variable": {"etc/environment", "EDITOR=vi", "EDITOR=vi\nLANG=C.UTF-8\n"},
		"in a comment":     {"etc/default/locale", "# LANG=de_DE.UTF-8\n", "LANG=C.UTF-8\n"},
		"Debian's":         {"etc/default/locale", "LANGUAGE=de\nLANG=de_DE.UTF-8\n", ""},
		"systemd's":        {"etc/locale.conf", "LANG=en_US.UTF-8\n", ""},
		"everybody's":      {"etc/environment", "LANG=C\n", "LANG=C\n"},
	} {
		t.Run(name, func(t *testing.T) {
			client, root, _ := serve(t, &recorder{})
			require.NoError(t, os.MkdirAll(filepath.Join(root, "etc/default"), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(root, test.file), []byte(test.text), 0o644))
			require.NoError(t, client.Seal(t.Context()))
			require.NoError(t, client.Seal(t.Context()), "sealing twice changes nothing")
			got, err := os.ReadFile(filepath.Join(root, "etc/environment"))
			require.True(t, err == nil || os.IsNotExist(err))
			require.Equal(t, test.environment, string(got))
		})
	}
}

func regularFiles(t *testing.T, root, content string) (found []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && read(t, path) == content {
			found = append(found, path)
		}
		return err
	}))
	return found
}

// lateHost is a port to which the host connects when somebody sends it a line.
type lateHost struct {
	lines    chan string
	answered chan struct{}
}

func (h lateHost) Read(p []byte) (int, error) {
	select {
	case line := <-h.lines:
		return copy(p, line), nil
	default:
		return 0, io.EOF
	}
}

func (h lateHost) Write(p []byte) (int, error) {
	close(h.answered)
	return len(p), nil
}

func TestHostThatConnectsLateIsNoticedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := lateHost{lines: make(chan string, 1), answered: make(chan struct{})}
		a := &agent{root: t.TempDir(), log: slog.New(slog.DiscardHandler), kernel: &recorder{}}
		go func() { _ = a.serve(t.Context(), host) }()
		time.Sleep(time.Second + time.Millisecond) // just after a look
		connected := time.Now()
		host.lines <- "rubbish\n"
		<-host.answered
		require.LessOrEqual(t, time.Since(connected), 5*time.Millisecond, "a fork waits for it")
	})
}

func TestFindPort(t *testing.T) {
	class := t.TempDir()
	for port, name := range map[string]string{"vport1p1": "org.qemu.guest_agent.0\n", "vport1p2": guest.PortName + "\n"} {
		require.NoError(t, os.Mkdir(filepath.Join(class, port), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(class, port, "name"), []byte(name), 0o600))
	}
	port, err := findPort(class)
	require.NoError(t, err)
	require.Equal(t, "/dev/vport1p2", port)
	_, err = findPort(t.TempDir())
	require.ErrorIs(t, err, errNoPort)
}

// TestReseed adds entropy to the kernel that the test runs on, which is
// harmless, and shows that the calls are what the kernel takes.
func TestReseed(t *testing.T) {
	need.Root(t)
	require.NoError(t, linux{}.Reseed(make([]byte, guest.MinEntropy)))
	require.ErrorContains(t, linux{}.Reseed(make([]byte, guest.MaxEntropy+1)), "at most")
}
