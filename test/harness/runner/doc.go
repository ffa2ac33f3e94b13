// Package runner plays GitLab Runner for end-to-end tests: it builds the
// program, runs it as a plugin process with fleeting's own protocol, scaling
// loop and connector, in this process or in one that a test can kill, and
// looks at what the program says and leaves behind. Only tests import it.
package runner
