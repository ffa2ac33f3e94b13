package access_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/phase"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/access"
)

func TestReadyTellsItsParts(t *testing.T) {
	identity, key := newIdentity(t)
	addr := (&door{identity: identity}).open(t)
	var parts []string
	ctx := phase.With(limit(t), phase.Parts(func(part string) { parts = append(parts, part) }))
	require.NoError(t, access.SSH{}.Ready(ctx, addr, identity, key))
	require.Equal(t, []string{
		access.PhaseConnect, access.PhaseKeyExchange, access.PhaseAuthentication, access.PhaseSession,
	}, parts)
}
