package api

import (
	"fmt"
	"regexp"
	"strconv"
)

// Version is a release of Cloud Hypervisor.
type Version struct{ Major, Minor int }

var versionPattern = regexp.MustCompile(`^(?:cloud-hypervisor )?v?(\d{1,6})\.(\d{1,6})(?:[.+~-]\S*)?$`)

// ParseVersion reads what the program and its API call a version, such as
// "cloud-hypervisor v53.0", "53.0.0" or "v53.0-12-gabcdef".
func ParseVersion(text string) (Version, error) {
	found := versionPattern.FindStringSubmatch(text)
	if found == nil {
		return Version{}, fmt.Errorf("%q is no version of Cloud Hypervisor", text)
	}
	major, _ := strconv.Atoi(found[1]) // digits, few enough
	minor, _ := strconv.Atoi(found[2])
	return Version{major, minor}, nil
}

// AtLeast says whether the version is of that release or of a later one.
func (v Version) AtLeast(major int) bool { return v.Major >= major }

func (v Version) String() string { return fmt.Sprintf("v%d.%d", v.Major, v.Minor) }
