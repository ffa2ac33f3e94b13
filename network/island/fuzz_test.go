//go:build linux

package island

import "testing"

func FuzzNameservers(f *testing.F) {
	f.Add("# made by hand\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nsearch example.org\n")
	f.Add("nameserver\nnameserver ::ffff:10.0.0.1 x\n\x00")
	f.Fuzz(func(t *testing.T, conf string) {
		for _, addr := range nameservers(conf) {
			if !addr.IsValid() || addr.Is4In6() {
				t.Errorf("nameservers(%q) has %v", conf, addr)
			}
		}
	})
}

// Names are others' as well: of links, of namespaces, in the book of addresses.
func FuzzNames(f *testing.F) {
	n := newNaming("ci", "/var/lib/mayfly/pools/ci")
	name, _ := n.name("ci-aaaaaaaa")
	f.Add(name, n.owner("ci-aaaaaaaa"))
	f.Add("mf", "ci/../../etc")
	f.Fuzz(func(t *testing.T, name, owner string) {
		if worker, ok := n.worker(name); ok {
			if again, err := n.name(worker); err != nil || again != name {
				t.Errorf("%q is of %q, whose name is %q: %v", name, worker, again, err)
			}
		}
		if worker, ok := n.workerOf(owner); ok && n.owner(worker) != owner {
			t.Errorf("%q is of %q", owner, worker)
		}
	})
}
