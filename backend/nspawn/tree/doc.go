// Package tree handles root file systems that are directories. It shifts owners,
// and writes files from outside without following links out of the tree. What is
// written is its caller's business.
package tree
