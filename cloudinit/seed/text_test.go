package seed

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/cloudinit"
)

func exampleUserData() cloudinit.UserData {
	return cloudinit.UserData{
		PreserveHostname: true,
		Users: []cloudinit.User{{
			Name: "mayfly", Sudo: "ALL=(ALL) NOPASSWD:ALL", Shell: "/bin/bash", LockPasswd: true,
			SSHAuthorizedKeys: []string{"ssh-ed25519 AAAA worker"},
		}},
		SSHKeys:        map[string]string{"ed25519_private": "-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n"},
		PackageUpdate:  true,
		PackageUpgrade: true,
		Packages:       []string{"make", "gcc"},
		RunCmd:         [][]string{{"sh", "-c", "echo 'a: b' > /tmp/x && test \"$?\" = 0\n# no comment\necho \"Grüße\"\n"}},
		InitModules:    []string{"users-groups"},
		ConfigModules:  []string{"runcmd"},
		FinalModules:   []string{"scripts-user"},
	}
}

func exampleNetwork() *cloudinit.NetworkConfig {
	return &cloudinit.NetworkConfig{
		MAC:        "52:54:00:12:34:56",
		Name:       "eth0",
		Address:    netip.MustParsePrefix("192.0.2.2/30"),
		Gateway:    netip.MustParseAddr("192.0.2.1"),
		Nameserver: netip.MustParseAddr("192.0.2.1"),
	}
}

func TestTexts(t *testing.T) {
	volume := Volume{
		UserData: exampleUserData(),
		MetaData: cloudinit.MetaData{InstanceID: "prebuild-0123", LocalHostname: "mayfly"},
		Network:  exampleNetwork(),
	}
	texts, err := volume.texts()
	require.NoError(t, err)
	require.Len(t, texts, 3)
	for name, got := range texts {
		want, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(string(want), string(got)), name)
	}
}

func TestEmptyUserDataIsStillConfiguration(t *testing.T) {
	text, err := userData(cloudinit.UserData{})
	require.NoError(t, err)
	require.Equal(t, "#cloud-config\nssh_pwauth: false\n", string(text))
}

func TestNetworkOfVersion6(t *testing.T) {
	text, err := networkConfig(cloudinit.NetworkConfig{
		Name: "eth0", Address: netip.MustParsePrefix("2001:db8::2/64"), Gateway: netip.MustParseAddr("2001:db8::1"),
	})
	require.NoError(t, err)
	require.Contains(t, string(text), `to: "::/0"`)
}

// Whatever is in a value, the guest gets that value.
func TestValuesSurvive(t *testing.T) {
	awkward := rapid.OneOf(
		rapid.String(),
		rapid.SampledFrom([]string{"a: b", "- x", "yes", "=", "<<", "12:30:45", "0644", "1e3", "null", "~", "#", "'\"", "{{ x }}", "%", "&a *a", "line\nline\n\n", "\nA", "\n\tA", " lead", "tab\there", "\u2028", "ümlaut", "!!binary x", "\x7f", ""}),
	)
	rapid.Check(t, func(t *rapid.T) {
		data := exampleUserData()
		data.Users[0].Name = awkward.Draw(t, "name")
		data.Packages = rapid.SliceOfN(awkward, 1, 3).Draw(t, "packages")
		data.RunCmd = [][]string{rapid.SliceOfN(awkward, 1, 3).Draw(t, "command")}
		text, err := userData(data)
		require.NoError(t, err)
		require.True(t, bytes.HasPrefix(text, []byte("#cloud-config\n")))
		var got cloudinit.UserData
		require.NoError(t, yaml.Unmarshal(text, &got), "%s", text)
		require.Empty(t, cmp.Diff(data, got), "%s", text)
	})
}

func TestUserDataOfTwoParts(t *testing.T) {
	volume := Volume{UserData: exampleUserData(), More: "#!/bin/sh\necho 'a: b'\n"}
	texts, err := volume.texts()
	require.NoError(t, err)
	message, err := mail.ReadMessage(bytes.NewReader(texts[cloudinit.UserDataFile]))
	require.NoError(t, err)
	kind, parameters, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	require.NoError(t, err)
	require.Equal(t, "multipart/mixed", kind)
	parts := multipart.NewReader(message.Body, parameters["boundary"])
	ours, err := os.ReadFile("testdata/user-data")
	require.NoError(t, err)
	for _, want := range []struct{ kind, text string }{
		{"text/cloud-config", string(ours)}, {"text/x-shellscript", volume.More},
	} {
		part, err := parts.NextPart()
		require.NoError(t, err)
		require.Contains(t, part.Header.Get("Content-Type"), want.kind)
		text, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, part))
		require.NoError(t, err)
		require.Equal(t, want.text, string(text))
	}
	_, err = parts.NextPart()
	require.ErrorIs(t, err, io.EOF)

	volume.More = "packages: [git]"
	_, err = volume.texts()
	require.ErrorContains(t, err, "#cloud-config")
}
