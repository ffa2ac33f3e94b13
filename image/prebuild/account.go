package prebuild

import (
	"context"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// makeUser is a command that makes an account with passwordless sudo, as
// cloud-init does elsewhere. A package may have made the account already.
func makeUser(user string) string {
	const sudoers = "/etc/sudoers.d/90-mayfly"
	return "id " + user + " >/dev/null 2>&1 || useradd --create-home --shell /bin/bash " + user +
		" && echo '" + user + " ALL=(ALL) NOPASSWD:ALL' >" + sudoers + " && chmod 0440 " + sudoers
}

// joinGroups is a command that puts an account into the groups by which a person at a
// machine would use virtual machines and containers, where these exist.
func joinGroups(user string) string {
	return "for group in kvm docker; do if getent group $group >/dev/null; then usermod --append --groups $group " +
		user + " || exit; fi; done"
}

// join runs joinGroups for the user of the recipe.
func join(ctx context.Context, g runner, recipe image.Recipe, progress image.Progress) error {
	if recipe.User == "root" {
		return nil
	}
	progress("account", "")
	return within(ctx, choreLimit, "adding "+recipe.User+" to groups",
		shown(g, joinGroups(recipe.User), "account", progress))
}
