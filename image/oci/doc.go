// Package oci takes golden images to registries and brings them from there: as an OCI
// artifact, whose layers are compressed chunks of the image's files. It checks whatever
// comes, and keeps it in the cache of golden images. Trees become one stream of bytes in
// archive/. Which image workers are made from is decided elsewhere.
package oci
