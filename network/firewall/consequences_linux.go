package firewall

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The TCP option that says how long a segment may be, and where in it.
const (
	tcpOptionMSS       = 2
	tcpOptionMSSOffset = 2
	tcpOptionMSSLength = 2
)

func consequence(a Action, sets map[string]*nftables.Set) []expr.Any {
	switch a := a.(type) {
	case Accept:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	case Drop:
		return []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}
	case Deny:
		return []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictGoto, Chain: a.Chain}}
	case Masquerade:
		return []expr.Any{&expr.Masq{}}
	case SendTo:
		return []expr.Any{
			&expr.Immediate{Register: register, Data: a.Address.AsSlice()},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(protocol(a.Address.Is6())), RegAddrMin: register},
		}
	case ClampMSS:
		return clampMSS()
	case CountLink:
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register},
			&expr.Dynset{
				SrcRegKey: register, SetName: a.Set, SetID: sets[a.Set].ID,
				Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: linksForgotten, Exprs: []expr.Any{&expr.Counter{}},
			},
		}
	case Remember:
		return []expr.Any{
			&expr.Immediate{Register: register, Data: binaryutil.NativeEndian.PutUint32(1)},
			&expr.Ct{Key: expr.CtKeyMARK, Register: register, SourceRegister: true},
		}
	case Log:
		return []expr.Any{&expr.Log{Key: 1 << unix.NFTA_LOG_GROUP, Group: a.Group}}
	}
	panic(fmt.Sprintf("firewall: no expression for action %T", a))
}

// clampMSS writes what the route's MTU allows; the kernel never lets it grow.
func clampMSS() []expr.Any {
	return []expr.Any{
		&expr.Rt{Register: register, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: register, DestRegister: register, Op: expr.ByteorderHton, Len: 2, Size: 2},
		&expr.Exthdr{
			SourceRegister: register, Op: expr.ExthdrOpTcpopt,
			Type: tcpOptionMSS, Offset: tcpOptionMSSOffset, Len: tcpOptionMSSLength,
		},
	}
}
