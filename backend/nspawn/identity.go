//go:build linux

package nspawn

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend/nspawn/tree"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// base is the host's id for a container's root.
func base(form string) int {
	if form == image.ShiftedTree {
		return image.ShiftedBase
	}
	return 0
}

// writeIdentity writes a worker's identity into a copy of a golden tree, before
// anything runs in it: the same files that the agent writes in a virtual machine, and
// more of its own.
func writeIdentity(dir string, golden image.Golden, id guest.Identity, more []tree.File) (err error) {
	w, err := tree.NewWriter(dir, golden.Tree(), base(golden.Recipe.Form))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	passwd, err := w.Read("etc/passwd")
	if err != nil {
		return fmt.Errorf("looking for the account %s: %w", id.User, err)
	}
	user, err := lookUp(string(passwd), id.User)
	if err != nil {
		return err
	}
	hosts, err := w.Read(guest.HostsPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the image's hosts file: %w", err)
	}
	for _, file := range append(identityFiles(id, user, string(hosts)), more...) {
		if file.Name == guest.ResolverPath && w.IsLink(guest.ResolverPath) { // the image has a resolver of its own
			if id.Link.Search == "" {
				continue
			}
			file.Name, file.Content = guest.ResolvedPath, guest.ResolvedFile(id.Link.Search)
		}
		if err := w.Write(file); err != nil {
			return err
		}
	}
	return nil
}

// identityFiles are made for an image with this hosts file.
func identityFiles(id guest.Identity, user account, hosts string) []tree.File {
	files := []tree.File{
		{Name: "etc/machine-id", Content: id.MachineID + "\n", Mode: 0o444},
		{Name: "etc/hostname", Content: id.Hostname + "\n", Mode: 0o644},
		{Name: guest.HostsPath, Content: guest.HostsFile(hosts, id.Hostname), Mode: 0o644},
		{Name: guest.ResolverPath, Content: guest.ResolverFile(id.Link.Search), Mode: 0o644},
		{Name: guest.HostKeyPath, Content: id.HostKey, Mode: 0o600},
		{Name: guest.HostKeyPath + ".pub", Content: id.HostKeyPublic + "\n", Mode: 0o644},
		{
			Name:    path.Join(strings.TrimPrefix(user.home, "/"), ".ssh/authorized_keys"),
			Content: id.AuthorizedKey + "\n", Mode: 0o600, UID: user.uid, GID: user.gid,
		},
	}
	if id.Link.IPv6 {
		files = append(files, ipv6Service())
	}
	return files
}

// ids is how many users and groups a container has.
const ids = 1 << 16

// account is a line of passwd(5).
type account struct {
	uid, gid int
	home     string
}

func lookUp(passwd, name string) (account, error) {
	for line := range strings.Lines(passwd) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if fields[0] != name {
			continue
		}
		const wanted = 7
		if len(fields) != wanted {
			return account{}, fmt.Errorf("the image's /etc/passwd has a malformed line for %s", name)
		}
		uid, err := strconv.Atoi(fields[2])
		gid, err2 := strconv.Atoi(fields[3])
		if err := errors.Join(err, err2); err != nil {
			return account{}, fmt.Errorf("the image's /etc/passwd has a malformed line for %s: %w", name, err)
		}
		if uint(uid) >= ids || uint(gid) >= ids {
			return account{}, fmt.Errorf("the image's account %s has the ids %d:%d, and a container has 0 to %d",
				name, uid, gid, ids-1)
		}
		if !path.IsAbs(fields[5]) || path.Clean(fields[5]) == "/" {
			return account{}, fmt.Errorf("the image's account %s has no home directory, but %q", name, fields[5])
		}
		return account{uid, gid, path.Clean(fields[5])}, nil
	}
	return account{}, fmt.Errorf("the image has no account %s in its /etc/passwd", name)
}
