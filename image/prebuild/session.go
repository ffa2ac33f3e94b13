package prebuild

import (
	"context"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// keepManager is a command that has systemd's manager of a user run from the boot on,
// and tells the logins of that user where it is. A login that had logind start it would
// wait for that; see silenceLogins of the guest's agent. It does nothing where logins are
// made another way than Debian's and Ubuntu's.
func keepManager(user string) string {
	return `set -e
grep -qs pam_systemd.so /etc/pam.d/common-session || exit 0
mkdir -p /var/lib/systemd/linger /etc/ssh/sshd_config.d
: >/var/lib/systemd/linger/` + user + `
at=/run/user/$(id -u ` + user + `)
printf 'Match User ` + user + `\n  SetEnv XDG_RUNTIME_DIR=%s DBUS_SESSION_BUS_ADDRESS=unix:path=%s/bus\n' $at $at \
  >/etc/ssh/sshd_config.d/90-mayfly.conf`
}

// session prepares the sessions of the recipe's user.
func session(ctx context.Context, g runner, recipe image.Recipe, progress image.Progress) error {
	progress("account", "")
	return within(ctx, choreLimit, "having "+recipe.User+"'s services run",
		shown(g, keepManager(recipe.User), "account", progress))
}
