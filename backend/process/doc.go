// Package process starts, finds and ends the child processes that backends
// own, so that one is found again by a later plugin process and never mistaken
// for another. What the processes are is the backends' business.
package process
