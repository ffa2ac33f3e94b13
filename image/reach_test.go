package image

import (
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCertificatesAreFoundEach(t *testing.T) {
	block := func(kind, text string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte(text)}))
	}
	one, other := block("CERTIFICATE", "one"), block("CERTIFICATE", "other")
	found, err := ParseCertificates([]byte("# Corp\n" + one + "\nsubject: other\n" + other))
	require.NoError(t, err)
	require.Equal(t, []string{one, other}, found)
	_, err = ParseCertificates([]byte(one + block("EC PRIVATE KEY", "key")))
	require.ErrorContains(t, err, `"EC PRIVATE KEY"`)
	_, err = ParseCertificates([]byte("nothing"))
	require.ErrorContains(t, err, "no certificate")
}

// TestASystemIsToldItsProxyOnce runs the script on another root.
func TestASystemIsToldItsProxyOnce(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "apt/apt.conf.d"), 0o755))
	script := strings.ReplaceAll(UseProxy, "/etc/", root+"/")
	for range 2 {
		out, err := exec.Command("sh", "-c", script, "sh", "http://p:1",
			Recipe{NoProxy: []string{".lan"}}.WithoutProxy()).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	environment, err := os.ReadFile(filepath.Join(root, "environment"))
	require.NoError(t, err)
	require.Equal(t, "http_proxy=http://p:1\nhttps_proxy=http://p:1\nHTTP_PROXY=http://p:1\nHTTPS_PROXY=http://p:1\n"+
		"no_proxy=localhost,127.0.0.1,::1,.lan\nNO_PROXY=localhost,127.0.0.1,::1,.lan\n", string(environment))
	apt, err := os.ReadFile(filepath.Join(root, "apt/apt.conf.d/90mayfly-proxy"))
	require.NoError(t, err)
	require.Equal(t, "Acquire::http::Proxy \"http://p:1\";\nAcquire::https::Proxy \"http://p:1\";\n", string(apt))
}
