// Package docs holds what people read, and what continuous integration reads: the
// blocks of code in the pages, the links between them, .gitlab-ci.yml. Configurations of
// ours are checked in provider/config, and our own commands where the command line is.
package docs
