// Package gitlab plays a GitLab server for a real GitLab Runner: it knows one
// runner, gives out jobs, takes their traces, results and artifacts, and serves
// one repository by git's smart HTTP. It is strict: what GitLab would refuse, a
// wrong token or a trace with a gap, it refuses and remembers as a complaint.
// The program in prove/ puts the two together with the plugin.
package gitlab
