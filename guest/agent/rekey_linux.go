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
		{"setting up the network", a.setUpNetwork},
		{"fitting the network", func() error { return a.Kernel.FitNetwork(r.Link) }},
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
	account, err := user.Lookup(name)
	if err != nil {
		return fmt.Errorf("account of the jobs: %w", err)
	}
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		return fmt.Errorf("user id of %s: %w", name, err)
	}
	gid, err := strconv.Atoi(account.Gid)
	if err != nil {
		return fmt.Errorf("group id of %s: %w", name, err)
	}
	dir := filepath.Join(account.HomeDir, ".ssh")
	if err := os.MkdirAll(a.path(dir), 0o700); err != nil {
		return err
	}
	file := filepath.Join(dir, "authorized_keys")
	if err := a.write(file, key+"\n", 0o600); err != nil {
		return err
	}
	for _, path := range []string{dir, file} {
		if err := os.Lchown(a.path(path), uid, gid); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) path(name string) string { return filepath.Join(a.Root, name) }

// write replaces a file of the guest, so that no older mode, content or link
// of it stays.
func (a *Agent) write(name, content string, mode os.FileMode) error {
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
