// Package packetlog reads the packets that rules of nftables log to a group. Which
// rules log, and what is made of the packets, is not known here.
package packetlog
