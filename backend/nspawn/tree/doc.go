// Package tree handles root file systems that are directories: copies of them
// that cost nothing until they are written to, whose their files are, and
// writing into one from outside without being led out of it. What is written
// is its user's business.
package tree
