package config

import (
	"fmt"
	"regexp"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// savedName is what an image can be called that a shell leaves.
var savedName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

// CheckSavedName refuses what no such image can be called.
func CheckSavedName(name string) error {
	if savedName.MatchString(name) {
		return nil
	}
	return fmt.Errorf("%q is not a valid name of an image: use up to 63 of a-z, 0-9, ., _ and -, "+
		"beginning and ending with a letter or a digit", name)
}

func parseSaved(name string) (image.Source, error) {
	if err := CheckSavedName(name); err != nil {
		return image.Source{}, err
	}
	return image.Source{Kind: image.Saved, Location: name}, nil
}

// checkSaved refuses what only the first boot of an image does, which a saved one has
// behind it.
func (c *Config) checkSaved(r *reading) {
	if c.Image.Source.Kind != image.Saved {
		return
	}
	for _, key := range []string{"image.packages", "image.preset", "image.kernel", "image.user_data"} {
		if r.gave(key) {
			r.refuse(key, "contradicts image.source %q, which was set up before it was saved: "+
				"remove it, and install what is missing by image.run", writeSource(c.Image.Source))
		}
	}
}
