// Package hostfirewall finds the rules of others on this host that drop packets of
// workers, and says in the words of their own firewall how to let these pass. It
// reads nftables, decides on plain data, and changes nothing. Our own rules are
// the firewall package's.
package hostfirewall
