// Package archive turns a root file system that is a directory into one stream of bytes,
// the same for the same tree, and makes the tree of such a stream again, whoever wrote
// it. How the stream travels is its caller's business.
package archive
