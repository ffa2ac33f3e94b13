//go:build linux

package debootstrap

import (
	"bytes"
	"fmt"
	"os"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// hostCertificates is where Debian and Ubuntu have all certificates that they trust.
const hostCertificates = "/etc/ssl/certs/ca-certificates.crt"

// reach are settings of apt.conf(5) for the recipe's proxy and certificates, which come
// after the host's own. apt takes its certificates from one file: trusted is written, with
// the host's before the recipe's.
func reach(recipe image.Recipe, trusted string) (settings string, err error) {
	if recipe.Proxy != "" {
		settings = fmt.Sprintf("Acquire::http::Proxy \"%[1]s\";\nAcquire::https::Proxy \"%[1]s\";\n", recipe.Proxy)
	}
	if len(recipe.Certificates) == 0 {
		return settings, nil
	}
	all, err := os.ReadFile(hostCertificates)
	if err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("reading the certificates that this host trusts: %w", err)
	}
	for _, certificate := range recipe.Certificates {
		all = append(append(bytes.TrimRight(all, "\n"), '\n'), certificate...)
	}
	if err := os.WriteFile(trusted, all, 0o644); err != nil {
		return "", err
	}
	return settings + fmt.Sprintf("Acquire::https::CAInfo \"%s\";\n", trusted), nil
}
