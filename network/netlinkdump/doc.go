// Package netlinkdump reads lists from the kernel by netlink. The kernel sends a
// list in parts; a change between two of them spoils it, and it is asked for
// again. Every list is read here: the functions that are called like one of
// package netlink repeat that one, and Settled repeats whatever reads rules of
// nftables. What is made of the lists is not known here.
package netlinkdump
