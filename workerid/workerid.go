// Package workerid is the form of a worker's id: the pool's name, a dash, and
// a key of eight characters. All that is made of a worker on a host is named
// after its id, and what makes, finds or removes it has the form from here. Which
// ids there are, the pool knows.
package workerid

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"regexp"
	"strings"
)

const (
	// KeyLength is the length of a key in characters.
	KeyLength = 8
	// keyBytes make a key: 5 bits a character.
	keyBytes = KeyLength * 5 / 8
)

var (
	keyPattern = regexp.MustCompile(fmt.Sprintf(`^[a-z2-7]{%d}$`, KeyLength))
	idPattern  = regexp.MustCompile(fmt.Sprintf(`^[a-z0-9][a-z0-9-]*-[a-z2-7]{%d}$`, KeyLength))
)

// New makes the id of a new worker. It is random, so that no id comes back:
// the runner may still remember one that we have long forgotten.
func New(pool string) string {
	var random [keyBytes]byte
	rand.Read(random[:])
	return Join(pool, encode(random))
}

// Derived returns the id of a machine that is not a worker but is made, found and
// removed like one, such as the machine that builds an image. It is the same for
// the same pool and purpose.
func Derived(pool, purpose string) string {
	sum := sha256.Sum256([]byte(purpose))
	return Join(pool, encode([keyBytes]byte(sum[:])))
}

func encode(bytes [keyBytes]byte) string {
	return strings.ToLower(base32.StdEncoding.EncodeToString(bytes[:]))
}

// Join makes an id of its parts.
func Join(pool, key string) string { return pool + "-" + key }

// Key returns what tells a worker from the others of its pool; false says that
// no worker of the pool can have the id.
func Key(pool, id string) (key string, ok bool) {
	key, ok = strings.CutPrefix(id, pool+"-")
	return key, ok && IsKey(key)
}

// IsKey tells whether an id may end so.
func IsKey(key string) bool { return keyPattern.MatchString(key) }

// Valid tells whether a worker of any pool can have the id.
func Valid(id string) bool { return idPattern.MatchString(id) }
