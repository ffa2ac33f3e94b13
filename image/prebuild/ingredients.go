package prebuild

import (
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// Ingredients are our own commands that run before the user's steps, and so are behind
// every layer; see image.Recipe.Layers.
func Ingredients(recipe image.Recipe) string {
	return strings.Join([]string{makeUser(recipe.User), joinGroups(recipe.User), trust, image.UseProxy}, "\n")
}
