//go:build linux

package fakeguest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// server is the guest's sshd: it obeys the files of the root as OpenSSH would,
// those that it reads when it starts and those that it reads at each login.
type server struct {
	root string

	mu        sync.Mutex
	host      ssh.Signer
	passwords bool
	loaded    time.Time
}

// load is the start of sshd.
func (s *server) load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	private, err := os.ReadFile(filepath.Join(s.root, "etc/ssh/ssh_host_ed25519_key"))
	if err != nil {
		return err
	}
	if s.host, err = ssh.ParsePrivateKey(private); err != nil {
		return err
	}
	config, err := os.ReadFile(filepath.Join(s.root, "etc/ssh/sshd_config"))
	if err != nil {
		return err
	}
	s.passwords = first(string(config), "PasswordAuthentication") != "no"
	s.loaded = time.Now()
	return nil
}

// first is the value of a setting: sshd takes the first one.
func first(config, setting string) string {
	for line := range strings.Lines(config) {
		if fields := strings.Fields(line); len(fields) == 2 && strings.EqualFold(fields[0], setting) {
			return fields[1]
		}
	}
	return ""
}

// current loads anew when sshd was told to begin anew; on macOS each
// connection has an sshd of its own.
func (s *server) current() error {
	info, err := os.Stat(filepath.Join(s.root, reloadFile))
	if s.system() == Darwin || err == nil && info.ModTime().After(s.loaded) {
		return s.load()
	}
	return nil
}

func (s *server) system() string { return s.file(systemFile) }

func (s *server) file(name string) string {
	text, _ := os.ReadFile(filepath.Join(s.root, name)) // none is as good as an empty one
	return string(text)
}

func (s *server) serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go s.connection(conn)
	}
}

func (s *server) connection(conn net.Conn) {
	defer conn.Close()
	if err := s.current(); err != nil {
		fmt.Fprintln(os.Stderr, "sshd:", err)
		return
	}
	s.mu.Lock()
	config := &ssh.ServerConfig{PublicKeyCallback: s.checkKey}
	if s.passwords {
		config.PasswordCallback = s.checkPassword
	}
	config.AddHostKey(s.host)
	s.mu.Unlock()
	server, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for channel := range channels {
		if channel.ChannelType() != "session" {
			_ = channel.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		go s.session(server.User(), channel)
	}
}

func (s *server) checkPassword(conn ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
	for line := range strings.Lines(s.file(passwordFile)) {
		user, want, _ := strings.Cut(strings.TrimSpace(line), ":")
		if user == conn.User() && want != "" && want == string(password) {
			return nil, nil
		}
	}
	return nil, errors.New("permission denied")
}

func (s *server) checkKey(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	home := s.home(conn.User())
	if home == "" {
		return nil, errors.New("no such user")
	}
	rest := []byte(s.file(filepath.Join(home, ".ssh/authorized_keys")))
	for len(rest) > 0 {
		allowed, _, _, after, err := ssh.ParseAuthorizedKey(rest)
		if err != nil {
			break
		}
		if bytes.Equal(allowed.Marshal(), key.Marshal()) {
			return nil, nil
		}
		rest = after
	}
	return nil, errors.New("permission denied")
}

func (s *server) home(user string) string {
	for line := range strings.Lines(s.file("etc/passwd")) {
		if fields := strings.Split(line, ":"); len(fields) == 7 && fields[0] == user {
			return fields[5]
		}
	}
	return ""
}

func (s *server) session(user string, offered ssh.NewChannel) {
	channel, requests, err := offered.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	for request := range requests {
		command, ok := wanted(request)
		if request.WantReply {
			_ = request.Reply(ok, nil)
		}
		if ok && command != nil {
			status := struct{ Status uint32 }{s.run(user, channel, command)}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status))
			return
		}
	}
}

// wanted is what the login shell is to be started with.
func wanted(request *ssh.Request) (args []string, ok bool) {
	switch request.Type {
	case "env":
		return nil, true
	case "shell":
		return []string{}, true
	case "exec":
		var exec struct{ Command string }
		if err := ssh.Unmarshal(request.Payload, &exec); err != nil {
			return nil, false
		}
		return []string{"-c", exec.Command}, true
	}
	return nil, false
}

func (s *server) run(user string, channel ssh.Channel, args []string) uint32 {
	home := s.home(user)
	cmd := exec.Command("/bin/sh", args...)
	inRoot(cmd, s.root)
	cmd.Dir = home
	// Stubs first: nothing of this machine's own may answer for the guest.
	cmd.Env = []string{"HOME=" + home, "USER=" + user, "PATH=/stubs:/usr/bin:/bin"}
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 126
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(channel.Stderr(), err)
		return 126
	}
	go func() {
		_, _ = io.Copy(stdin, channel)
		_ = stdin.Close()
	}()
	_ = cmd.Wait() // its state says more
	return uint32(cmd.ProcessState.ExitCode())
}
