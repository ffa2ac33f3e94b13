// Package firewall holds the rules around workers. Host and Namespace say as
// plain data, in the words of nft, what the kernel is to do; Apply and Add put
// such a table in place, and Remove takes it away; Learn opens addresses in it;
// Denied and DeniedByLink read what it counted. Every table is wholly ours, so
// that nothing of anybody else's is ever touched. Which interfaces and namespaces
// exist is not known here.
package firewall
