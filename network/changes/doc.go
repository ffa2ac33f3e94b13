// Package changes tells what changes in the network of the host, as soon as the
// kernel says so: rules of nftables and who changed them, where the host itself
// hears packets, and which links stopped forwarding. What is there now is for
// others to look at: netlinkdump has the lists. What is done about a change is not
// known here.
package changes
