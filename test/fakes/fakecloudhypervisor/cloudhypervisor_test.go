//go:build linux

package fakecloudhypervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

var binary = func() func(t *testing.T) string {
	var path string
	return func(t *testing.T) string {
		t.Helper()
		if path == "" {
			var err error
			path, err = Build(programs)
			require.NoError(t, err)
		}
		return path
	}
}()

// programs is where the program is built.
var programs string

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run has the program where nobody can start it.
func run(m *testing.M) int {
	var err error
	if programs, err = os.MkdirTemp("", "mayfly-fake-"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(programs)
	if err := os.Chmod(programs, 0o755); err != nil {
		panic(err)
	}
	return m.Run()
}

func TestOptionsThatTheRealProgramHasNotAreRefused(t *testing.T) {
	for _, arguments := range [][]string{
		{},
		{"--name", "x"},
		{"api-socket"},
		{"--api-socket"},
		{"--api-socket", "fd=x"},
		{"--api-socket", "fd=99"},
		{"--api-socket", "/a/path"},
		{"--seccomp", "maybe", "--api-socket", "fd=0"},
		{"--seccomp", "true", "--seccomp", "true"},
		{"--api-socket", "fd=0", "--landlock"},
		{"--api-socket", "fd=0", "--memory", "size=1G"},
		{"--api-socket=fd=0"},
	} {
		_, err := parse(arguments)
		require.Error(t, err, "%q", arguments)
	}
	o, err := parse([]string{"--api-socket", "fd=0", "--event-monitor", "fd=1", "--seccomp", "true",
		"--log-file", "/x"})
	require.NoError(t, err)
	require.Equal(t, "/x", o.logFile)

	out, err := exec.Command(binary(t), "--version").Output()
	require.NoError(t, err)
	require.Equal(t, "cloud-hypervisor v53.0\n", string(out))
	var exit *exec.ExitError
	require.ErrorAs(t, exec.Command(binary(t), "--name", "x").Run(), &exit)
	require.Equal(t, 2, exit.ExitCode())
}

// nobody is the user that the program runs as when we are root.
const nobody = 65534

// TestPowerIsRefused starts it as we are.
func TestPowerIsRefused(t *testing.T) {
	out, err := exec.Command(binary(t), "--api-socket", "fd=0").CombinedOutput()
	require.Error(t, err)
	require.Regexp(t, "runs as root|could get new privileges", string(out))
}

// directory is one in which the program may make files.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(programs, "")
	require.NoError(t, err)
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(dir, nobody, nobody))
	}
	return dir
}

// api is a running program and a way to call it.
type api struct {
	socket string
	done   chan error
}

func start(t *testing.T) api {
	t.Helper()
	dir := t.TempDir()
	a := api{socket: filepath.Join(dir, "api"), done: make(chan error, 1)}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: a.socket, Net: "unix"})
	require.NoError(t, err)
	listener.SetUnlinkOnClose(false)
	defer listener.Close()
	file, err := listener.File()
	require.NoError(t, err)
	defer file.Close()
	events, err := os.Create(filepath.Join(dir, "events"))
	require.NoError(t, err)
	defer events.Close()
	need.Programs(t, "setpriv")
	cmd := exec.Command("setpriv", "--no-new-privs", binary(t), "--api-socket", "fd=3", "--event-monitor", "fd=4")
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	cmd.ExtraFiles = []*os.File{file, events}
	require.NoError(t, cmd.Start())
	go func() { a.done <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return a
}

func (a api) call(t *testing.T, method, path, body string) (status int, reasons []string) {
	t.Helper()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", a.socket)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	request, err := http.NewRequest(method, "http://localhost/api/v1/"+path, bytes.NewReader([]byte(body)))
	require.NoError(t, err)
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	_ = json.Unmarshal(text, &reasons)
	return response.StatusCode, reasons
}

func TestCallsOfTheWrongFormAreRefused(t *testing.T) {
	a := start(t)
	for _, test := range []struct {
		method, path, body string
		status             int
		reason             string
	}{
		{"GET", "vmm.ping", "", 200, ""},
		{"PUT", "vmm.ping", "", 400, "Bad Request"},
		{"GET", "vm.boot", "", 400, "Bad Request"},
		{"PUT", "vm.start", "", 404, "Not Found"},
		{"PUT", "vm.boot", "{}", 400, "Bad Request"},
		{"PUT", "vm.pause", "null", 400, "Bad Request"},
		{"PUT", "vm.create", "", 400, "Bad Request"},
		{"PUT", "vm.create", "{", 400, "deserialize"},
		{"PUT", "vm.create", `{"cpus": {"boot_vcpus": 1, "max_vcpus": 1}}`, 400, "missing field `payload`"},
		{"PUT", "vm.create", `{"payload": {}, "colour": "red"}`, 400, "unknown field `colour`"},
		{"PUT", "vm.create", `{"payload": {}, "cpus": {"boot_vcpus": "1", "max_vcpus": 1}}`, 400, "whole number"},
		{"PUT", "vm.create", `{"payload": {}, "cpus": {"boot_vcpus": 0, "max_vcpus": 1}}`, 400, "from 1 on"},
		{"PUT", "vm.create", `{"payload": {}, "disks": [{"path": "/x", "image_type": "raw"}]}`, 400, "image_type"},
		{"PUT", "vm.create", `{"payload": {}, "vsock": {"cid": 2, "socket": "/x"}}`, 400, "from 3 on"},
		{"PUT", "vm.restore", `{"source_url": "file:///x", "memory_restore_mode": "CopyOnWrite"}`, 400, "restore_mode"},
	} {
		status, reasons := a.call(t, test.method, test.path, test.body)
		require.Equal(t, test.status, status, "%+v: %s", test, reasons)
		if test.reason != "" {
			require.Contains(t, said(reasons), test.reason, "%+v", test)
		}
	}
}

func TestCallsInTheWrongOrderAreRefused(t *testing.T) {
	a := start(t)
	serial := filepath.Join(directory(t), "console")
	config := `{"payload": {"kernel": "/x", "cmdline": ""}, "serial": {"mode": "File", "file": "` + serial + `"}}`
	for _, test := range []struct {
		path, body string
		status     int
	}{
		{"vm.boot", "", 404}, // not created
		{"vm.pause", "", 500},
		{"vm.resume", "", 500},
		{"vm.snapshot", `{"destination_url": "file:///tmp"}`, 500},
		{"vm.power-button", "", 500},
		{"vm.restore", `{"source_url": "file:///nowhere"}`, 500},
		{"vm.create", config, 204},
		{"vm.create", config, 500}, // twice
		{"vm.restore", `{"source_url": "file:///nowhere"}`, 500},
		{"vm.boot", "", 500}, // the kernel is not there
	} {
		status, reasons := a.call(t, "PUT", test.path, test.body)
		require.Equal(t, test.status, status, "%+v: %s", test, reasons)
	}
	status, _ := a.call(t, "PUT", "vmm.shutdown", "")
	require.Equal(t, 200, status)
	select {
	case err := <-a.done:
		require.NoError(t, err, "exit code 0")
	case <-time.After(time.Minute):
		require.Fail(t, "it goes on")
	}
}

func TestFailsOnDemand(t *testing.T) {
	t.Setenv(Fails, "vm.boot,vmm.ping")
	a := start(t)
	status, reasons := a.call(t, "GET", "vmm.ping", "")
	require.Equal(t, 500, status)
	require.Contains(t, said(reasons), "told to fail")
}

func said(reasons []string) string {
	text, _ := json.Marshal(reasons)
	return string(bytes.ReplaceAll(text, []byte("\\u0026"), []byte("&")))
}
