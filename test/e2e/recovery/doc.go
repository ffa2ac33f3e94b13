// Package recovery holds the table of what a killed plugin process may leave of a
// worker, makes each cell of it for real, and opens the pool on it as the plugin
// does. The table is also the page docs/reference/recovery.md.
package recovery
