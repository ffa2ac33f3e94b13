package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/cloudinit"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

// File is what image.files says of one.
type File struct {
	// Content is what it holds, or From the absolute path of a file of this host.
	Content, From string
	Mode          fs.FileMode
	Owner         string
}

// Secret is where the value of one is: the absolute path of a file of this host, or the
// name of a variable of the plugin's process.
type Secret struct{ File, Variable string }

// inputs are the keys of what goes into an image's build beside packages and commands.
func (i *Image) inputs() []key {
	return []key{
		{name: "files", value: entries(&i.Files, fileSchema, readFile, writeFile), kind: "table of tables",
			otherwise: "empty", example: `{ "/etc/motd" = { content = "Hello", mode = "0644", owner = "root:root" } }`,
			about: "files that are written when the image is built, after its packages and before `run`. The path " +
				"in the image leads to a table of `content`, or `from`, the absolute path of a file of this host; " +
				"`mode` (default \"0644\") and `owner` (default \"root\")",
			refused: "a relative path, or one below what no image keeps (`/dev`, `/proc`, `/run`, `/sys`, `/tmp`, " +
				"`/var/tmp`); `content` beside `from`, or neither; a `from` that cannot be read; with the backends " +
				"\"tart\" and \"bhyve\""},
		{name: "env", value: entries(&i.Env, aString.schema, readVariable, asText[string]),
			kind: "table of strings", otherwise: "empty",
			example: `{ TOOL_VERSION = "1.2.3" }`,
			about:   "environment of the commands of `run`, and of nothing else. Another value makes another image",
			refused: "what is no name of a variable; a name that is in `secrets`; with the backends \"tart\" and " +
				"\"bhyve\""},
		{name: "secrets", value: entries(&i.Secrets, aString.schema, readSecret, writeSecret), kind: "table of strings",
			otherwise: "empty", example: `{ NPM_TOKEN = "file:/etc/mayfly/npm-token", PIP_TOKEN = "env:PIP_TOKEN" }`,
			about: "environment of the commands of `run` with values from elsewhere: `file:` and the absolute path " +
				"of a file of this host, or `env:` and the name of a variable of the runner's process. They are " +
				"hidden in the output, and are kept nowhere ([guide](../guides/image.md#secrets)). Another value " +
				"makes no other image",
			refused: "another form; what is no name of a variable; with the backends \"tart\" and \"bhyve\". When " +
				"the image is built: a value that is not there, or of fewer than 8 bytes"},
		{name: "user_data", value: text(&i.UserData, parseUserData),
			example: `"#cloud-config\ntimezone: Europe/Berlin\n"`,
			about: "user-data for cloud-init at the first boot of a virtual machine's image, besides that of this " +
				"program: its lists are added, and what both say stays ours. It begins with `#cloud-config`, or with " +
				"`#!` as a script does",
			refused: "another beginning; what is no YAML after `#cloud-config`; more than 60 KiB; with the backends " +
				"\"nspawn\", \"tart\" and \"bhyve\", whose guests have no cloud-init of ours"},
		{name: "proxy", value: text(&i.Proxy, parseProxy), example: `"http://proxy.example.org:3128"`,
			about: "the proxy by which the image's packages and commands, and workers, reach the world: in the " +
				"environment of every login, and in the settings of apt and dnf. Workers must be able to reach it " +
				"(`network.allow`)",
			refused: "anything but http:// or https:// with a host and no path; an address of this host's loopback, " +
				"which no worker reaches; with the backends \"tart\" and \"bhyve\""},
		{name: "no_proxy", value: list(&i.NoProxy, parseNoProxy),
			example: `["gitlab.example.com", ".corp.example.com"]`,
			about:   "names and networks that are reached without `proxy`, beside the worker itself",
			refused: "commas, blanks and quotes; without `proxy`"},
		{name: "ca_certificates", value: list(&i.CACertificates, parseCertificatePath), kind: "list of absolute paths",
			example: `["/etc/ssl/certs/corp-ca.pem"]`,
			about: "files of this host with certificates in the PEM form that the image's packages and commands, and " +
				"workers, trust. Another content makes another image",
			refused: "a relative path; what cannot be read, or has no certificate, or a private key; with the " +
				"backends \"tart\" and \"bhyve\""},
	}
}

// checkInputs refuses what contradicts itself or could not be done.
func (c *Config) checkInputs(r *reading) {
	for name := range c.Image.Secrets {
		if _, twice := c.Image.Env[name]; twice {
			r.add(tomlfile.Join(r.path("image.secrets"), name), "is in env too: remove it from one of the two")
		}
	}
	if r.gave("image.user_data") && (c.entersBySSH() || c.Backend == BackendNspawn) {
		r.refuse("image.user_data", "the backend %q runs no cloud-init: remove it, and write image.run and image.files",
			c.foreign())
	}
	for n, path := range c.Image.CACertificates {
		if path == "" { // wrong already
			continue
		}
		if err := checkCertificates(path); err != nil {
			r.add(tomlfile.At(r.path("image.ca_certificates"), n), "%v", err)
		}
	}
	if r.gave("image.no_proxy") && c.Image.Proxy == "" {
		r.refuse("image.no_proxy", "there is no proxy: write image.proxy, or remove it")
	}
	for _, key := range []string{"image.files", "image.env", "image.secrets", "image.proxy", "image.ca_certificates"} {
		if c.entersBySSH() && r.gave(key) {
			r.refuse(key, "the backend %q does not know it: remove it, and have commands of image.run do it",
				c.foreign())
		}
	}
}

func parseUserData(text string) (string, error) {
	kind, err := cloudinit.KindOf(text)
	if err != nil {
		return "", fmt.Errorf("%w: write what is wanted as cloud-init's documentation has it", err)
	}
	if len(text) > maxCommand {
		return "", fmt.Errorf("has more than %d bytes: write files by image.files", maxCommand)
	}
	if kind == cloudinit.Config {
		var any map[string]any
		if err := yaml.Unmarshal([]byte(text), &any); err != nil {
			return "", fmt.Errorf("is no YAML: %w: mend it", err)
		}
	}
	return text, nil
}

func parseProxy(text string) (string, error) {
	address, err := url.Parse(text)
	if err != nil || (address.Scheme != "http" && address.Scheme != "https") || address.Hostname() == "" ||
		strings.Trim(address.Path, "/") != "" || address.RawQuery != "" || address.Fragment != "" || !plain(text) {
		return "", errors.New("not the URL of a proxy, and not shown, for it may hold a password: " +
			"write for instance \"http://proxy.example.org:3128\"")
	}
	host := address.Hostname()
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		return "", fmt.Errorf("%q is this host's own loopback, which no worker reaches: "+
			"have the proxy listen on another address too, and write that", host)
	}
	return text, nil
}

// plain says that a text can be written into a shell's, apt's and PAM's files.
func plain(text string) bool { return !strings.ContainsAny(text, "\"'`$\\;#, \t\r\n\x00") }

func parseNoProxy(text string) (string, error) {
	if text == "" || !plain(text) {
		return "", fmt.Errorf("%q is not one name or network: write for instance \".corp.example.com\"", text)
	}
	return text, nil
}

func parseCertificatePath(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%q is not an absolute path: write for instance \"/etc/ssl/certs/corp-ca.pem\"", path)
	}
	return filepath.Clean(path), nil
}

func checkCertificates(path string) error {
	if err := checkReadable(path); err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if _, err := image.ParseCertificates(text); err != nil {
		return fmt.Errorf("%q %w: write the path of a file with certificates alone", path, err)
	}
	return nil
}

func (i Image) files() (all []image.File) {
	for _, path := range slices.Sorted(maps.Keys(i.Files)) {
		f := i.Files[path]
		all = append(all, image.File{
			Path: path, Content: f.Content, From: f.From, Mode: uint32(f.Mode), Owner: f.Owner,
		})
	}
	return all
}

func (i Image) secrets() (all []image.Secret) {
	for _, name := range slices.Sorted(maps.Keys(i.Secrets)) {
		s := i.Secrets[name]
		all = append(all, image.Secret{Name: name, File: s.File, Variable: s.Variable})
	}
	return all
}

// forgotten are directories of which nothing stays in an image.
var forgotten = regexp.MustCompile(`^/(dev|proc|run|sys|tmp|var/tmp)(/|$)`)

// fileKeys are those of a file's table, and fileSchema is its form.
var (
	fileKeys   = []string{"content", "from", "mode", "owner"}
	fileSchema = tableOf(map[string]schema{
		"content": aString.schema, "from": aString.schema, "mode": aString.schema, "owner": aString.schema,
	})
)

func readFile(m *Errors, g given, name string) (f File) {
	if !path.IsAbs(name) || path.Clean(name) != name || name == "/" {
		m.add(g.path, "not the absolute path of a file: write for instance \"/etc/motd\"")
	} else if forgotten.MatchString(name) {
		m.add(g.path, "is where an image keeps nothing: choose another path")
	}
	written := readTable(m, g, `{ content = "Hello" }`)
	content, hasContent := aString.of(m, written.at("content"), `"Hello"`)
	from, hasFrom := aString.of(m, written.at("from"), `"/etc/docker/daemon.json"`)
	f.Content, f.From, f.Mode = content, from, 0o644
	switch {
	case hasContent && hasFrom:
		m.add(g.path, "has content and from: remove one of the two")
	case !hasContent && !hasFrom:
		m.add(g.path, "has neither content nor from: write one of the two")
	case hasFrom && !filepath.IsAbs(from):
		m.add(tomlfile.Join(g.path, "from"), "%q is not an absolute path: "+
			"write for instance \"/etc/docker/daemon.json\"", from)
	case hasFrom:
		if err := checkReadable(from); err != nil {
			m.add(tomlfile.Join(g.path, "from"), "%v", err)
		}
	}
	if text, ok := aString.of(m, written.at("mode"), `"0644"`); ok {
		set(m, tomlfile.Join(g.path, "mode"), &f.Mode, text, parseMode)
	}
	if text, ok := aString.of(m, written.at("owner"), `"root"`); ok {
		set(m, tomlfile.Join(g.path, "owner"), &f.Owner, text, parseOwner)
	}
	for key := range written.values {
		if !slices.Contains(fileKeys, key) {
			m.add(tomlfile.Join(g.path, key), "unknown key: use one of %s", strings.Join(fileKeys, ", "))
		}
	}
	return f
}

func parseMode(text string) (fs.FileMode, error) {
	bits, err := strconv.ParseUint(text, 8, 32)
	if err != nil || bits > 0o7777 {
		return 0, fmt.Errorf("%q is not a mode: write for instance \"0644\"", text)
	}
	return fs.FileMode(bits), nil
}

var parseOwner = matching(regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$`),
	`is not a user, or a user and a group: write for instance "root:adm"`)

func writeFile(f File) any {
	written := map[string]any{"mode": fmt.Sprintf("%04o", uint32(f.Mode)), "content": f.Content}
	if f.From != "" {
		delete(written, "content")
		written["from"] = f.From
	}
	if f.Owner != "" {
		written["owner"] = f.Owner
	}
	return written
}

// maxVariable is how many bytes the value of a variable may have.
const maxVariable = guest.MaxValue

func readVariable(m *Errors, g given, name string) string {
	checkVariable(m, g, name)
	value, _ := aString.of(m, g, `"1.2.3"`)
	if strings.ContainsRune(value, 0) || len(value) > maxVariable {
		m.add(g.path, "has a NUL in it, or more than %d bytes: make it shorter", maxVariable)
	}
	return value
}

func checkVariable(m *Errors, g given, name string) {
	if !guest.ValidVariable(name) {
		m.add(g.path, "not the name of a variable: write letters, digits and _, for instance TOOL_VERSION")
	}
}

// readSecret shows nothing of what is given: it may be the secret itself.
func readSecret(m *Errors, g given, name string) (s Secret) {
	checkVariable(m, g, name)
	if _, isText := g.value.(string); !isText {
		m.add(g.path, "%v", errSecret)
		return Secret{}
	}
	set(m, g.path, &s, g.value.(string), parseSecret)
	return s
}

var errSecret = errors.New(`does not say where the secret is, and is not shown: ` +
	`write for instance "file:/etc/mayfly/token" or "env:TOKEN"`)

func parseSecret(text string) (Secret, error) {
	if path, ok := strings.CutPrefix(text, "file:"); ok && filepath.IsAbs(path) {
		return Secret{File: filepath.Clean(path)}, nil
	}
	if name, ok := strings.CutPrefix(text, "env:"); ok && guest.ValidVariable(name) {
		return Secret{Variable: name}, nil
	}
	return Secret{}, errSecret
}

func writeSecret(s Secret) any {
	if s.File != "" {
		return "file:" + s.File
	}
	return "env:" + s.Variable
}
