//go:build linux

package island

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/network/firewall"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/workerid"
)

const scopeLength = 5

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// naming translates between a pool's worker ids and names in the kernel. These
// are derived and never random, so that every orphan can be traced to its worker:
// a namespace and its host link are both called mf<scope><key>, which with 15 bytes is all that the kernel takes.
type naming struct{ pool, scope string }

func newNaming(pool, poolDir string) naming {
	sum := sha256.Sum256([]byte(poolDir))
	return naming{pool: pool, scope: base32Lower.EncodeToString(sum[:])[:scopeLength]}
}

// name returns what the worker's namespace and host link are called.
func (n naming) name(worker string) (string, error) {
	key, ok := workerid.Key(n.pool, worker)
	if !ok {
		return "", fmt.Errorf(
			"worker id %q is not %s-<%d characters of a-z and 2-7>", worker, n.pool, workerid.KeyLength)
	}
	return firewall.LinkPrefix + n.scope + key, nil
}

// worker returns whose namespace or link has the name, if it is of this pool.
func (n naming) worker(name string) (string, bool) {
	key, ok := strings.CutPrefix(name, firewall.LinkPrefix+n.scope)
	if !ok || !workerid.IsKey(key) {
		return "", false
	}
	return workerid.Join(n.pool, key), true
}

// owner returns the name under which the worker takes addresses.
func (n naming) owner(worker string) string { return n.pool + "/" + worker }

// workerOf returns which worker of this pool the owner is.
func (n naming) workerOf(owner string) (string, bool) {
	worker, ok := strings.CutPrefix(owner, n.pool+"/")
	if !ok {
		return "", false
	}
	_, ok = workerid.Key(n.pool, worker)
	return worker, ok
}
