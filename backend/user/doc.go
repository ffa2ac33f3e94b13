// Package user gives each worker's machine a user of its own on the host: a
// number from a range that nobody else uses, which has no name and no account.
// What such a user may reach is package process's business.
package user
