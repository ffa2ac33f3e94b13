package remote

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// debian is a real sshd in a copy-on-write image of this very machine's root
// file system, with namespaces for its processes, mounts and host name: all
// that scripts do to it is real, and gone with it.
type debian struct {
	address netip.AddrPort
	log     *bytes.Buffer
}

// debianInit runs in the new namespaces. Its arguments: a directory, the
// address, the port.
const debianInit = `set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount --rbind /dev "$1/root/dev"
mount -t proc proc "$1/root/proc"
mount -t tmpfs tmpfs "$1/root/run"
mkdir "$1/root/run/sshd"
hostname before
exec chroot "$1/root" sh -euc '
  cat >/usr/local/bin/date <<"END"
#!/bin/sh
case "$*" in
"-u +%s") echo 1000 ;; # a clock that is far off
"-u -s @"*) echo "$3" >/etc/clock-was-set ;;
*) exec /bin/date "$@" ;;
esac
END
  chmod 755 /usr/local/bin/date
  echo "127.0.0.1 localhost before" >/etc/hosts
  useradd --create-home admin
  echo admin:secret | chpasswd
  echo "admin ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/admin
  rm -rf /etc/ssh/ssh_host_* /etc/netplan && mkdir /etc/netplan && echo old >/etc/netplan/50-cloud-init.yaml
  for kind in ecdsa ed25519; do ssh-keygen -q -N "" -t $kind -f /etc/ssh/ssh_host_${kind}_key; done
  printf "%s\n" "PasswordAuthentication yes" "UsePAM yes" "PermitRootLogin yes" >/etc/ssh/sshd_config
  exec /usr/sbin/sshd -D -e -o "ListenAddress=$1" -p "$2"
' sh "$2" "$3"
`

func startDebian(t *testing.T) *debian {
	t.Helper()
	need.Root(t)
	need.Programs(t, "sshd", "ssh-keygen", "unshare", "sudo", "useradd", "git")
	d := &debian{address: freePort(t), log: new(bytes.Buffer)}
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--uts", "--kill-child",
		"sh", "-c", debianInit, "sh", t.TempDir(), d.address.Addr().String(), fmt.Sprint(d.address.Port()))
	cmd.Stdout, cmd.Stderr = d.log, d.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: 0}
	cmd.WaitDelay = 5 * time.Second
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Log(d.log.String())
		}
	})
	return d
}

// freePort is a port of a loopback address that nobody else asks for ports
// meanwhile: sshd takes it only some seconds later.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	pid := os.Getpid()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.66.%d.%d:0", pid>>8&255, pid&255))
	require.NoError(t, err)
	defer listener.Close()
	return netip.MustParseAddrPort(listener.Addr().String())
}

// enter logs in within a generous time.
func (d *debian) enter(t *testing.T, login Login) *Guest {
	t.Helper()
	g, met, err := Wait(limit(t, 2*time.Minute), at(d.address), login)
	require.NoError(t, err)
	require.Equal(t, d.address, met)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return g
}

// refuses makes sure that a login fails, whatever it is that fails.
func (d *debian) refuses(t *testing.T, login Login, reason string) {
	t.Helper()
	config, err := login.config()
	require.NoError(t, err)
	ctx := limit(t, time.Minute)
	for {
		_, _, err = dial(ctx, d.address, config)
		if !errors.Is(err, syscall.ECONNREFUSED) || ctx.Err() != nil { // else it is about to begin anew
			break
		}
	}
	require.ErrorContains(t, err, reason)
}

// output runs a command as root, and returns what it printed.
func output(t *testing.T, g *Guest, command string) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, g.asRoot(limit(t, time.Minute), shell(command), &out), out.String())
	return out.String()
}

// reload does what a boot does to an sshd.
func (d *debian) reload(t *testing.T, g *Guest) {
	t.Helper()
	text, err := scripts.ReadFile("scripts/common.sh")
	require.NoError(t, err)
	output(t, g, string(text)+"\nhang_up_sshd")
}

func testdata(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o700))
	return path
}
