//go:build linux

package agent

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// rekey makes the guest one of a kind. The order matters: fresh entropy comes
// before anything may draw a random number, the network comes last, and nothing
// listens for SSH before all of it. The first failure ends it: a guest that is not
// wholly rekeyed is never handed out.
func (a *Agent) rekey(r guest.Rekey) error {
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
		{"opening the SSH port", a.Ready},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	a.rekeyed = true
	return nil
}

// refresh mends what restored memory has missed, entropy first.
func (a *Agent) refresh(f guest.Fresh) error {
	if err := a.Kernel.Reseed(f.Entropy); err != nil {
		return fmt.Errorf("adding entropy: %w", err)
	}
	if err := a.Kernel.SetTime(f.Time); err != nil {
		return fmt.Errorf("setting the clock: %w", err)
	}
	return nil
}

func (a *Agent) setHostname(name string) error {
	if err := a.writeHosts(name); err != nil {
		return err
	}
	if err := a.write("etc/hostname", name+"\n", 0o644); err != nil {
		return err
	}
	return a.Kernel.SetHostname(name)
}

func (a *Agent) writeHosts(name string) error {
	return a.write("etc/hosts", guest.HostsFile(name), 0o644)
}

// prepare gives a prebuild the network without an identity.
func (a *Agent) prepare() error {
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("asking for the host name: %w", err)
	}
	if err := a.writeHosts(name); err != nil {
		return err
	}
	return a.setUpNetwork()
}

// setUpNetwork makes the gateway the name server as well, unless the guest has
// a resolver of its own, to which that file is then a link: it was told the
// same at prebuild.
func (a *Agent) setUpNetwork() error {
	if err := a.Kernel.SetUpNetwork(); err != nil {
		return err
	}
	const resolver = "etc/resolv.conf"
	if info, err := os.Lstat(a.path(resolver)); err == nil && info.Mode()&os.ModeSymlink != 0 {
		return nil
	}
	return a.write(resolver, guest.ResolverFile(), 0o644)
}

func (a *Agent) writeHostKey(id guest.Identity) error {
	if err := a.write(guest.HostKeyPath, id.HostKey, 0o600); err != nil {
		return err
	}
	return a.write(guest.HostKeyPath+".pub", id.HostKeyPublic+"\n", 0o644)
}

func (a *Agent) writeAuthorizedKey(name, key string) error {
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

// account is what the files of a user need to know.
type account struct {
	home     string
	uid, gid int
}

func (a account) sshDir() string         { return filepath.Join(a.home, ".ssh") }
func (a account) authorizedKeys() string { return filepath.Join(a.sshDir(), "authorized_keys") }

func (a *Agent) account(name string) (account, error) {
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

func (a *Agent) makeSSHDir(jobs account) error {
	dir := a.path(jobs.sshDir())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Lchown(dir, jobs.uid, jobs.gid)
}

func (a *Agent) path(name string) string { return filepath.Join(a.Root, name) }

// write replaces a file of the guest, so that no older mode, content or link
// of it stays. What lies in memory was never written before.
func (a *Agent) write(name, content string, mode os.FileMode) error {
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
