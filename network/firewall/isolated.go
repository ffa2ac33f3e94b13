//go:build linux

package firewall

// IsolationTable is there, in a worker's namespace, once the worker is isolated.
const IsolationTable = "mayfly-isolated"

// Isolated returns the rules that let a guest answer what the host began, and nothing else.
// Connections that the guest had opened before end with them: their packets answer nobody.
// What it sends is refused, not dropped, since a login looks names up and would wait.
func Isolated() Table {
	rules := []rule{fromGuest(ctDirectionReply{}).do(accept{}), fromGuest().do(reject{})}
	return Table{name: IsolationTable, chains: []chain{
		{name: "input", at: inputFilter, rules: rules},
		{name: "forward", at: forwardMangle, rules: rules},
	}}
}
