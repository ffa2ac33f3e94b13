//go:build linux

package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// offline takes the network away that steps in a template had, so that its forks begin
// as those of any template do.
func (a *agent) offline() error {
	a.networked = false
	if err := a.kernel.LeaveNetwork(); err != nil {
		return fmt.Errorf("leaving the network: %w", err)
	}
	return nil
}

// homes are where people keep what they log in to other services with.
var homes = []string{"root", "home/*"}

// unshareable are processes that forks must not have in common: their names, as the
// kernel has them, up to 15 bytes, and what they hold.
var unshareable = []struct {
	names []string
	holds string
}{
	{[]string{"ssh-agent", "gpg-agent"}, "private keys in its memory"},
	{[]string{"sshd"}, "a host key and a seeded generator, and would answer in a worker before its own sshd does"},
	{[]string{"dhclient", "dhcpcd", "udhcpc"}, "an address that was leased to one machine"},
	{[]string{"gitlab-runner"}, "a runner's token, with which every fork would ask for the same jobs"},
	{[]string{"tailscaled", "openvpn", "charon", "charon-systemd"}, "the keys of one member of a private network"},
	{[]string{"krenew", "k5start", "sssd"}, "tickets or passwords of an account"},
	{[]string{"swtpm"}, "the keys of one machine's TPM"},
}

// confidential are files that no job should find in its worker: patterns of their
// names, below homes where there is no slash before, and what they hold if content is
// in them. Without content any file that is not empty counts.
var confidential = []struct {
	names   []string
	content *regexp.Regexp
	holds   string
}{
	{[]string{".docker/config.json", ".config/containers/auth.json", "/run/containers/*/auth.json"},
		regexp.MustCompile(`"(auth|identitytoken|registrytoken)"\s*:\s*"[^"]`), "the password of a registry"},
	{[]string{".netrc"}, regexp.MustCompile(`\bpassword\s`), "the password of a server"},
	{[]string{".git-credentials", ".config/git/credentials"}, nil, "passwords for git"},
	{[]string{".ssh/id_*", ".ssh/*.pem"}, regexp.MustCompile(`PRIVATE KEY-----`), "a private key"},
	{[]string{".gnupg/private-keys-v1.d/*"}, nil, "a private key"},
	{[]string{".aws/credentials"}, regexp.MustCompile(`aws_secret_access_key|aws_session_token`), "keys of AWS"},
	{[]string{".config/gcloud/application_default_credentials.json", ".config/gcloud/credentials.db"}, nil,
		"credentials of Google Cloud"},
	{[]string{".azure/msal_token_cache.*", ".azure/accessTokens.json"}, nil, "credentials of Azure"},
	{[]string{".kube/config"}, regexp.MustCompile(`\b(token|password|client-key-data):`), "credentials of a cluster"},
	{[]string{".npmrc"}, regexp.MustCompile(`_(authToken|password)\s*=\s*[^$\s]`), "the token of a registry"},
	{[]string{".pypirc"}, regexp.MustCompile(`\bpassword\s*[:=]`), "the password of an index"},
	{[]string{"/etc/gitlab-runner/config.toml", ".gitlab-runner/config.toml"},
		regexp.MustCompile(`(?m)^\s*token\s*=\s*"[^"]`), "the token of a registered runner"},
	{[]string{"/tmp/krb5cc_*", "/run/user/*/krb5cc*"}, nil, "Kerberos tickets"},
	{[]string{"/run/systemd/netif/leases/*", "/var/lib/dhcp/*.leases", "/var/lib/NetworkManager/*.lease"}, nil,
		"an address that was leased to one machine"},
}

// mostOfFile is how many bytes of a file are looked at.
const mostOfFile = 1 << 20

// inspect refuses a machine that is to become a template and holds what its forks must
// not have in common, as far as that can be recognised. It names all that it finds.
func (a *agent) inspect() error {
	found, err := a.unshareableProcesses()
	files, filesErr := a.confidentialFiles()
	if found = append(found, files...); len(found) > 0 {
		return fmt.Errorf("every fork would have: %s", strings.Join(found, "; "))
	}
	return errors.Join(err, filesErr)
}

func (a *agent) unshareableProcesses() (found []string, err error) {
	processes, err := filepath.Glob(a.path("proc/[0-9]*/comm"))
	if err != nil {
		return nil, err
	}
	running := map[string]bool{}
	for _, path := range processes {
		if name, err := os.ReadFile(path); err == nil { // else it has ended meanwhile
			running[strings.TrimSuffix(string(name), "\n")] = true
		}
	}
	for _, kind := range unshareable {
		for _, name := range kind.names {
			if running[name] {
				found = append(found,
					fmt.Sprintf("the process %s, which holds %s (end it in a step)", name, kind.holds))
			}
		}
	}
	return found, nil
}

func (a *agent) confidentialFiles() (found []string, err error) {
	for _, kind := range confidential {
		for _, name := range kind.names {
			paths, globErr := filepath.Glob(a.path(name))
			if !filepath.IsAbs(name) {
				paths = nil
				for _, home := range homes {
					below, homeErr := filepath.Glob(a.path(filepath.Join(home, name)))
					paths, globErr = append(paths, below...), errors.Join(globErr, homeErr)
				}
			}
			err = errors.Join(err, globErr)
			for _, path := range paths {
				holds, readErr := contains(path, kind.content)
				err = errors.Join(err, readErr)
				if holds {
					shown := filepath.Join("/", strings.TrimPrefix(path, a.root))
					found = append(found,
						fmt.Sprintf("the file %s, which holds %s (remove it in a step)", shown, kind.holds))
				}
			}
		}
	}
	return found, err
}

// contains says whether a regular file has what is looked for in its beginning, or,
// without that, anything.
func contains(path string, content *regexp.Regexp) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() == 0) {
		return false, nil
	}
	if err != nil || content == nil {
		return err == nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, mostOfFile))
	return content.Match(text), err
}
