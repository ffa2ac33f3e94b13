package prebuild

import (
	"context"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Tree does what Run does for a root file system whose agent runs in a container
// that is not booted: without cloud-init, a kernel, and powering off.
func Tree(ctx context.Context, g Guest, recipe image.Recipe, progress image.Progress) error {
	progress("account", "")
	if err := within(ctx, choreLimit, "setting up the network of the prebuild", g.Network); err != nil {
		return err
	}
	if recipe.User != "root" {
		account := shown(g, makeUser(recipe.User), "account", progress)
		if err := within(ctx, choreLimit, "making the account "+recipe.User, account); err != nil {
			return err
		}
	}
	if err := runSteps(ctx, g, recipe, progress); err != nil {
		return err
	}
	progress("seal", "")
	return within(ctx, choreLimit, "sealing the image", g.Seal)
}

// makeUser is a command that makes an account with passwordless sudo, as
// cloud-init does elsewhere. A package may have made the account already.
func makeUser(user string) string {
	const sudoers = "/etc/sudoers.d/90-mayfly"
	return "id " + user + " >/dev/null 2>&1 || useradd --create-home --shell /bin/bash " + user +
		" && echo '" + user + " ALL=(ALL) NOPASSWD:ALL' >" + sudoers + " && chmod 0440 " + sudoers
}
