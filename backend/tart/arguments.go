package tart

import (
	"net/netip"
	"strconv"
	"strings"
)

// Networks of a machine.
const (
	NAT     = "nat" // Tart's own, with everything in reach
	Softnet = "softnet"
	Bridged = "bridged"
	Host    = "host"
)

// Settings are what a machine is run with.
type Settings struct {
	// Dirs and Disks are Tart's own --dir and --disk.
	Dirs, Disks []string
	// RootDisk is Tart's own --root-disk-opts.
	RootDisk string
	Network  string
	// Bridged names interfaces of the host.
	Bridged []string
	// SoftnetAllow and SoftnetBlock are for the network Softnet.
	SoftnetAllow, SoftnetBlock []netip.Prefix
	// Nested lets a Linux guest run machines of its own.
	Nested bool
}

// runArguments is the command line of a machine without a screen. A suspended
// one, or one that is to be, must always be run as suspendable.
func runArguments(name string, s Settings, suspendable bool) []string {
	args := []string{"run", name, "--no-graphics", "--no-audio", "--no-clipboard"}
	if s.RootDisk != "" {
		args = append(args, "--root-disk-opts="+s.RootDisk)
	}
	for _, dir := range s.Dirs {
		args = append(args, "--dir="+dir)
	}
	for _, disk := range s.Disks {
		args = append(args, "--disk="+disk)
	}
	args = append(args, networkArguments(s)...)
	if s.Nested {
		args = append(args, "--nested")
	}
	if suspendable {
		args = append(args, "--suspendable")
	}
	return args
}

func networkArguments(s Settings) []string {
	var args []string
	switch s.Network {
	case Softnet:
		args = append(args, "--net-softnet")
		if len(s.SoftnetAllow) > 0 {
			args = append(args, "--net-softnet-allow="+joined(s.SoftnetAllow))
		}
		if len(s.SoftnetBlock) > 0 {
			args = append(args, "--net-softnet-block="+joined(s.SoftnetBlock))
		}
	case Bridged:
		for _, name := range s.Bridged {
			args = append(args, "--net-bridged="+name)
		}
	case Host:
		args = append(args, "--net-host")
	}
	return args
}

func joined(prefixes []netip.Prefix) string {
	texts := make([]string, len(prefixes))
	for i, prefix := range prefixes {
		texts[i] = prefix.String()
	}
	return strings.Join(texts, ",")
}

// hardware is what a stopped machine is set to.
type hardware struct {
	CPUs   int
	Memory int64 // bytes
	DiskGB int   // of 10^9 bytes; 0 leaves the disk as it is
	Serial bool  // a new serial number
}

// setArguments always asks for a new MAC: the first clone of an image that was
// pulled keeps the image's.
func setArguments(name string, h hardware) []string {
	memory := strconv.FormatInt(h.Memory>>20, 10)
	args := []string{"set", name, "--cpu", strconv.Itoa(h.CPUs), "--memory", memory, "--random-mac"}
	if h.Serial {
		args = append(args, "--random-serial")
	}
	if h.DiskGB > 0 {
		args = append(args, "--disk-size", strconv.Itoa(h.DiskGB))
	}
	return args
}

// Registry is how images are pulled.
type Registry struct {
	// Always asks the registry at each start of the pool; else an image that
	// is there is taken as it is.
	Always bool
	// Insecure speaks HTTP, Concurrency is how many layers come at once.
	Insecure    bool
	Concurrency int
}

func pullArguments(reference string, r Registry) []string {
	return append([]string{"pull", reference}, r.options()...)
}

// cloneArguments has the options of a pull for what may have to be pulled.
func cloneArguments(source, name string, remote bool, r Registry) []string {
	args := []string{"clone", source, name}
	if remote {
		args = append(args, r.options()...)
	}
	return args
}

func (r Registry) options() []string {
	var options []string
	if r.Insecure {
		options = append(options, "--insecure")
	}
	if r.Concurrency > 0 {
		options = append(options, "--concurrency", strconv.Itoa(r.Concurrency))
	}
	return options
}

func ipArguments(name, resolver string) []string {
	return []string{"ip", name, "--resolver", resolver}
}

// stopArguments powers a machine off at once: Tart's stop asks no guest to shut
// down.
func stopArguments(name string) []string { return []string{"stop", name, "--timeout", "5"} }
