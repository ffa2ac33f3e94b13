package cloudinit

import (
	"errors"
	"strings"
)

// Kinds of user-data, as MIME has them.
const (
	Config = "text/cloud-config"
	Script = "text/x-shellscript"
)

// KindOf is the kind of user-data that somebody has written, by its first line.
func KindOf(text string) (string, error) {
	first, _, _ := strings.Cut(text, "\n")
	switch {
	case strings.TrimRight(first, " \r") == "#cloud-config":
		return Config, nil
	case strings.HasPrefix(first, "#!"):
		return Script, nil
	}
	return "", errors.New(`begins neither with the line "#cloud-config" nor with "#!"`)
}
