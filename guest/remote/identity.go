package remote

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
)

// Rekey gives the guest its identity, with fresh entropy and the time. From
// then on nothing lets anybody in but the identity's key, and new connections
// meet its host key; the one that this goes over stays.
func (g *Guest) Rekey(ctx context.Context, identity guest.Identity) error {
	rekey := guest.Rekey{Identity: identity, Fresh: guest.NewFresh()}
	request := guest.Request{Version: guest.Version, Op: guest.OpRekey, Rekey: &rekey}
	if err := request.Validate(); err != nil {
		return fmt.Errorf("identity of %s: %w", identity.Hostname, err)
	}
	err := g.ours(ctx, "identity",
		value{"system", g.system},
		value{"entropy", hex.EncodeToString(rekey.Entropy)},
		value{"now", strconv.FormatInt(rekey.Time.Unix(), 10)},
		value{"machine_id", identity.MachineID},
		value{"hostname", identity.Hostname},
		value{"host_key", strings.TrimSpace(identity.HostKey)},
		value{"host_key_public", identity.HostKeyPublic},
		value{"login_user", g.user},
		value{"user", identity.User},
		value{"authorized_key", identity.AuthorizedKey},
	)
	if err != nil {
		return fmt.Errorf("giving %s its identity: %w", identity.Hostname, err)
	}
	return nil
}
