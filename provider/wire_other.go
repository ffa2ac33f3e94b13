//go:build !linux

package provider

import "gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"

// systemBuilders is empty: no backend of this system is there yet.
var systemBuilders []builder

// addressOwners finds none: only Linux's networks take addresses.
func addressOwners(config.Config) ([]string, error) { return nil, nil }

// canReflink is asked on behalf of backends that are not there yet.
func canReflink(string) bool { return false }
