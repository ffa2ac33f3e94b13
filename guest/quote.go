package guest

import "strings"

// Quote makes a text one word of a command for a shell.
func Quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
