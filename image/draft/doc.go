// Package draft makes the draft of a golden image: the disk, or for containers
// the tree, that the recipe's source gives, and the seed volume that makes the
// disk's first boot a prebuild. Booting a draft is a backend's business, what
// happens then is package prebuild's.
package draft
