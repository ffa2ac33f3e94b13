// Package template keeps templates on disk: golden images that were booted
// once and saved with their memory. It knows what a template is valid for, and
// makes and removes them whole; how a machine is saved, and forked, is the
// backends' business.
package template
