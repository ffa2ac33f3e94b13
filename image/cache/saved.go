package cache

import (
	"context"
	"errors"
	"fmt"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Saved finds the image that a shell has saved by a name.
func (c *Cache) Saved(name string) (golden image.Golden, found bool, err error) {
	all, damaged := c.List()
	for _, g := range all {
		if g.ByHand() && g.Recipe.Source.Location == name {
			return g, true, nil
		}
	}
	return image.Golden{}, false, damaged // one of which may be it
}

// HoldSaved holds the saved image that a build of the recipe goes on from.
func (c *Cache) HoldSaved(
	ctx context.Context, recipe image.Recipe,
) (golden image.Golden, release func() error, err error) {
	name := recipe.Source.Location
	golden, found, err := c.Saved(name)
	if err == nil && (!found || !golden.Recipe.Source.SavedAt.Equal(recipe.Source.SavedAt)) {
		err = errors.New("it is there no more")
	}
	if err == nil {
		err = recipe.GoesOn(golden.Recipe)
	}
	if err == nil {
		release, err = golden.Hold(ctx)
	}
	if err != nil {
		return image.Golden{}, nil, fmt.Errorf("image.source %q: %w", recipe.Source.Public(), err)
	}
	return golden, release, nil
}
