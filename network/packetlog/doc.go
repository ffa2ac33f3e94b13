// Package packetlog reads the packets that rules of nftables log to a group. Which
// rules do is not known here, nor what is made of the packets.
package packetlog
