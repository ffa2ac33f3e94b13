package image

import (
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// UseProxy is a shell script that tells a system its proxy, $1, and what is reached
// without it, $2, a list with commas: logins, apt and dnf. It changes nothing in a system
// that was told already.
const UseProxy = `set -e
! grep -q '^http_proxy=' /etc/environment 2>/dev/null || exit 0
for name in http_proxy https_proxy HTTP_PROXY HTTPS_PROXY; do echo "$name=$1"; done >>/etc/environment
for name in no_proxy NO_PROXY; do echo "$name=$2"; done >>/etc/environment
if [ -d /etc/apt/apt.conf.d ]; then
  printf 'Acquire::http::Proxy "%s";\nAcquire::https::Proxy "%s";\n' "$1" "$1" >/etc/apt/apt.conf.d/90mayfly-proxy
fi
if [ -f /etc/dnf/dnf.conf ]; then echo "proxy=$1" >>/etc/dnf/dnf.conf; fi`

// WithoutProxy is what is reached without the proxy, a list with commas.
func (r Recipe) WithoutProxy() string {
	return strings.Join(append([]string{"localhost", "127.0.0.1", "::1"}, r.NoProxy...), ",")
}

// ProxyEnvironment are the variables by which programs know the proxy; without one there
// are none.
func (r Recipe) ProxyEnvironment() map[string]string {
	if r.Proxy == "" {
		return nil
	}
	all := map[string]string{"no_proxy": r.WithoutProxy(), "NO_PROXY": r.WithoutProxy()}
	for _, name := range []string{"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"} {
		all[name] = r.Proxy
	}
	return all
}

// ParseCertificates finds the certificates in a file of the PEM form, each in that form.
func ParseCertificates(text []byte) (all []string, err error) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("has a block of the type %q, which belongs in no image", block.Type)
		}
		all, text = append(all, string(pem.EncodeToMemory(block))), rest
	}
	if len(all) == 0 {
		return nil, errors.New("has no certificate in the PEM form")
	}
	return all, nil
}
