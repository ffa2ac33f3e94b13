package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// Registry takes golden images to registries and brings them from there.
type Registry interface {
	// Push sends an image, signed if signKey is the path of a private key, and returns
	// the digest of the artifact.
	Push(ctx context.Context, golden image.Golden, reference, signKey string, progress image.Progress) (string, error)
	// Pull brings an image for a program whose own SHA-256, as a guest agent, is this.
	Pull(ctx context.Context, reference, agent string, progress image.Progress) (image.Golden, error)
}

// Transfer is an image's way to a registry or from one.
type Transfer struct {
	// Reference is where it leads.
	Reference string
	// PlainHTTP asks without encryption.
	PlainHTTP bool
	// SignKey and VerifyKey are paths of keys to sign with and to verify with, or empty.
	SignKey, VerifyKey string
}

var errNoRegistry = errors.New("images of this system's backends are their tool's, " +
	"which has its own way to registries")

// PushImage sends a golden image, and returns the digest of the artifact.
func (h *Host) PushImage(
	ctx context.Context, c config.Config, golden image.Golden, t Transfer, progress image.Progress,
) (digest string, err error) {
	if h.Registry == nil {
		return "", errNoRegistry
	}
	return h.Registry(c, t).Push(ctx, golden, t.Reference, t.SignKey, progress)
}

// PullImage brings a golden image that another host has pushed, unless it is here.
func (h *Host) PullImage(
	ctx context.Context, c config.Config, t Transfer, progress image.Progress, log *slog.Logger,
) (image.Golden, error) {
	if h.Registry == nil {
		return image.Golden{}, errNoRegistry
	}
	own, err := ownProgram()
	if err != nil {
		return image.Golden{}, err
	}
	agent, err := sum(own)
	if err != nil {
		return image.Golden{}, fmt.Errorf("reading our own program, the guest agent: %w", err)
	}
	if err := checkDirectories(c); err != nil {
		return image.Golden{}, err
	}
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return image.Golden{}, fmt.Errorf("making the state directory: %w", err)
	}
	if err := h.diskOf(c, log).Check(ctx); err != nil {
		return image.Golden{}, fmt.Errorf("not pulling an image: %w", err)
	}
	return h.Registry(c, t).Pull(ctx, t.Reference, agent, progress)
}
