//go:build linux

package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// rekey gives the guest its identity. The order matters: fresh entropy comes
// before anything draws a random number, the network comes last, and nothing
// listens for SSH before all else is done. The first failure ends the rekey,
// since a guest with half an identity must never be handed out.
func (a *agent) rekey(r guest.Rekey) error {
	if err := a.refresh(r.Fresh); err != nil {
		return err
	}
	steps := []struct {
		what string
		do   func() error
	}{
		{"setting the machine id", func() error { return a.write("etc/machine-id", r.MachineID+"\n", 0o444) }},
		{"setting the host name", func() error { return a.setHostname(r.Hostname) }},
		{"writing the SSH host key", func() error { return a.writeHostKey(r.Identity) }},
		{"writing authorized_keys", func() error { return a.writeAuthorizedKey(r.User, r.AuthorizedKey) }},
		{"setting up the network", func() error { return a.haveNetwork(r.Link) }},
		{"opening the SSH port", a.ready},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	a.rekeyed = true
	return nil
}

// refresh gives a guest what its restored memory cannot have, entropy first.
func (a *agent) refresh(f guest.Fresh) error {
	if err := a.kernel.Reseed(f.Entropy); err != nil {
		return fmt.Errorf("adding entropy: %w", err)
	}
	if err := a.kernel.SetTime(f.Time); err != nil {
		return fmt.Errorf("setting the clock: %w", err)
	}
	return nil
}

func (a *agent) setHostname(name string) error {
	if err := a.writeHosts(name); err != nil {
		return err
	}
	if err := a.write("etc/hostname", name+"\n", 0o644); err != nil {
		return err
	}
	return a.kernel.SetHostname(name)
}

// writeHosts leaves what the image has in its hosts file.
func (a *agent) writeHosts(name string) error {
	now, err := a.hosts()
	if err != nil {
		return err
	}
	return a.write(guest.HostsPath, guest.HostsFile(now, name), 0o644)
}

// hosts is the text of the hosts file; an image may have none.
func (a *agent) hosts() (string, error) {
	text, err := os.ReadFile(a.place(guest.HostsPath))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the hosts file: %w", err)
	}
	return string(text), nil
}

// prepare gives a prebuild the network without an identity.
func (a *agent) prepare() error {
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("asking for the host name: %w", err)
	}
	if err := a.writeHosts(name); err != nil {
		return err
	}
	if err := a.kernel.SetUpNetwork(); err != nil {
		return err
	}
	return a.writeResolver("")
}

// writeResolver makes the gateway the name server, and tells the guest its search
// domains. Where resolv.conf is a link, the guest has a resolver of its own, which was
// told the server at prebuild.
func (a *agent) writeResolver(search string) error {
	info, err := os.Lstat(a.path(guest.ResolverPath))
	if err != nil || info.Mode()&os.ModeSymlink == 0 {
		return a.write(guest.ResolverPath, guest.ResolverFile(search), 0o644)
	}
	if search == "" {
		return nil
	}
	if err := a.write(guest.ResolvedPath, guest.ResolvedFile(search), 0o644); err != nil {
		return err
	}
	if err := a.kernel.RestartResolver(); err != nil {
		a.log.Warn("a resolver of the image's own may not know the search domains", "error", err)
	}
	return nil
}

func (a *agent) writeHostKey(id guest.Identity) error {
	if err := a.write(guest.HostKeyPath, id.HostKey, 0o600); err != nil {
		return err
	}
	return a.write(guest.HostKeyPath+".pub", id.HostKeyPublic+"\n", 0o644)
}

func (a *agent) writeAuthorizedKey(name, key string) error {
	jobs, err := a.account(name)
	if err != nil {
		return err
	}
	file := jobs.authorizedKeys()
	if !a.inMemory[file] {
		if err := a.makeSSHDir(jobs); err != nil {
			return err
		}
	}
	if err := a.write(file, key+"\n", 0o600); err != nil {
		return err
	}
	return os.Lchown(a.place(file), jobs.uid, jobs.gid)
}

// account is what the files of a user are made from.
type account struct {
	home     string
	uid, gid int
}

func (a account) sshDir() string         { return filepath.Join(a.home, ".ssh") }
func (a account) authorizedKeys() string { return filepath.Join(a.sshDir(), "authorized_keys") }

func (a *agent) account(name string) (account, error) {
	found, err := user.Lookup(name)
	if err != nil {
		return account{}, fmt.Errorf("account of the jobs: %w", err)
	}
	uid, err := strconv.Atoi(found.Uid)
	if err != nil {
		return account{}, fmt.Errorf("user id of %s: %w", name, err)
	}
	gid, err := strconv.Atoi(found.Gid)
	if err != nil {
		return account{}, fmt.Errorf("group id of %s: %w", name, err)
	}
	return account{found.HomeDir, uid, gid}, nil
}

func (a *agent) makeSSHDir(jobs account) error {
	dir := a.path(jobs.sshDir())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Lchown(dir, jobs.uid, jobs.gid)
}

func (a *agent) path(name string) string { return filepath.Join(a.root, name) }

// write replaces a file of the guest, so that no older mode, content or link of
// it stays. A file in memory has nothing to replace: it is written once.
func (a *agent) write(name, content string, mode os.FileMode) error {
	if a.inMemory[name] {
		return os.WriteFile(a.place(name), []byte(content), mode)
	}
	path := a.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary := path + ".mayfly"
	if err := os.WriteFile(temporary, []byte(content), mode); err != nil {
		return err
	}
	if err := os.Chmod(temporary, mode); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
