//go:build linux

package template

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/backend"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
)

// Basis is everything that a template depends on. Saved memory only fits a
// machine of the same make: another binary, processor, kernel of the host,
// image or size means another template.
type Basis struct {
	Golden string       `json:"golden"`
	Size   backend.Size `json:"size"`
	Host   string       `json:"host_kernel"`
	Platform
	// Warm is the digest of the commands that its guest has run; empty without any.
	Warm string `json:"warm,omitempty"`
	// More is what else the backend's templates depend on.
	More string `json:"more,omitempty"`
}

// Platform is what saved memory of any kind depends on.
type Platform struct {
	Accel   string    `json:"acceleration"`
	CPU     string    `json:"cpu"`
	Binary  string    `json:"binary"`
	Changed time.Time `json:"binary_changed"`
}

// NewBasis is what a template of such a machine, run by the binary on this
// host, would depend on now.
func NewBasis(golden image.Golden, size backend.Size, accel, binary string) (Basis, error) {
	platform, err := NewPlatform(accel, binary)
	if err != nil {
		return Basis{}, err
	}
	var host unix.Utsname
	if err := unix.Uname(&host); err != nil {
		return Basis{}, fmt.Errorf("asking for the host's kernel: %w", err)
	}
	return Basis{
		Golden: golden.Digest, Size: size, Platform: platform,
		Host: unix.ByteSliceToString(host.Release[:]) + " " + unix.ByteSliceToString(host.Version[:]),
	}, nil
}

// WarmDigest stands for the commands that make a template warm.
func WarmDigest(warm []image.Commands) string {
	var commands []string
	for _, some := range warm {
		commands = append(commands, some.Shell...)
	}
	if len(commands) == 0 {
		return ""
	}
	text, err := json.Marshal(commands)
	if err != nil {
		panic(err) // strings only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// NewPlatform is this host's, for machines that the binary runs.
func NewPlatform(accel, binary string) (Platform, error) {
	path, err := programs.FindConfigured(binary)
	if err != nil {
		return Platform{}, fmt.Errorf("finding what runs machines: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return Platform{}, fmt.Errorf("finding what runs machines: %w", err)
	}
	cpu, err := processor()
	return Platform{Accel: accel, CPU: cpu, Binary: path, Changed: info.ModTime().UTC()}, err
}

// FitsHere is nil when memory that was saved there can be restored on this host,
// by the binary.
func (p Platform) FitsHere(binary string) error {
	here, err := NewPlatform(p.Accel, binary)
	if err != nil {
		return err
	}
	if here != p {
		return fmt.Errorf("its memory was saved by another program or on another processor: %+v, here is %+v", p, here)
	}
	return nil
}

// Key names the template's directory.
func (b Basis) Key() string {
	text, err := json.Marshal(b)
	if err != nil {
		panic(err) // a basis holds only strings, numbers and a time
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}
