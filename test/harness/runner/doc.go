// Package runner plays GitLab Runner for end-to-end tests: it runs the
// program as a plugin process with fleeting's own protocol, scaling loop and
// connector, in this process or in one that a test can kill, and reads what the
// program prints and what its state directory holds. Only tests and the
// benchmark import it.
package runner
