package api

// VmConfig is what a machine is to be, as much of it as the backend uses.
type VmConfig struct {
	CPUs           CPUs           `json:"cpus"`
	Memory         Memory         `json:"memory"`
	Payload        Payload        `json:"payload"`
	Disks          []Disk         `json:"disks,omitempty"`
	Net            []Net          `json:"net,omitempty"`
	RNG            RNG            `json:"rng"`
	Balloon        *Balloon       `json:"balloon,omitempty"`
	Devices        []Device       `json:"devices,omitempty"`
	Serial         Console        `json:"serial"`
	Console        Console        `json:"console"`
	Vsock          *Vsock         `json:"vsock,omitempty"`
	Pvpanic        bool           `json:"pvpanic"`
	LandlockEnable bool           `json:"landlock_enable"`
	LandlockRules  []LandlockRule `json:"landlock_rules,omitempty"`
}

// CPUs are the virtual processors, now and at most. Without Nested the guest can run
// machines of its own.
type CPUs struct {
	Boot   int   `json:"boot_vcpus"`
	Max    int   `json:"max_vcpus"`
	Nested *bool `json:"nested,omitempty"`
}

// Memory is in bytes; Size is 0 when all of it is in zones.
type Memory struct {
	Size  int64        `json:"size"`
	Zones []MemoryZone `json:"zones,omitempty"`
}

// MemoryZone is memory that lies in a file. What the machine writes becomes the
// file's content when it is Shared; otherwise it stays the machine's own.
type MemoryZone struct {
	ID     string `json:"id"`
	Size   int64  `json:"size"`
	File   string `json:"file,omitempty"`
	Shared bool   `json:"shared"`
}

// Payload is what is booted.
type Payload struct {
	Kernel    string `json:"kernel"`
	Initramfs string `json:"initramfs,omitempty"`
	Cmdline   string `json:"cmdline"`
}

// Formats of disks.
const (
	Raw   = "Raw"
	Qcow2 = "Qcow2"
)

// Disk always has a type: a raw disk whose type was guessed refuses writes to
// its first sector. A qcow2 file reads other files only with BackingFiles. Without
// Queues it has one.
type Disk struct {
	ID           string       `json:"id"`
	Path         string       `json:"path"`
	ImageType    string       `json:"image_type"`
	ReadOnly     bool         `json:"readonly,omitempty"`
	BackingFiles bool         `json:"backing_files,omitempty"`
	Queues       int          `json:"num_queues,omitempty"`
	RateLimiter  *RateLimiter `json:"rate_limiter_config,omitempty"`
}

// Net is a network device on a TAP device that is there already. Queues counts both
// directions; without it there is one for each.
type Net struct {
	ID          string       `json:"id"`
	TAP         string       `json:"tap"`
	MAC         string       `json:"mac"`
	Queues      int          `json:"num_queues,omitempty"`
	RateLimiter *RateLimiter `json:"rate_limiter_config,omitempty"`
}

// RateLimiter bounds bytes and operations of a device.
type RateLimiter struct {
	Bandwidth *TokenBucket `json:"bandwidth,omitempty"`
	Ops       *TokenBucket `json:"ops,omitempty"`
}

// TokenBucket holds Size tokens, and fills in RefillTime milliseconds.
type TokenBucket struct {
	Size       int64 `json:"size"`
	RefillTime int64 `json:"refill_time"`
}

// Device is a device of the host's that is the machine's own, by the directory in which
// the kernel describes it.
type Device struct {
	ID   string `json:"id"`
	Path string `json:"path"`
}

// RNG is the source of the guest's entropy.
type RNG struct {
	Source string `json:"src"`
}

// Balloon gives the host back what the guest has freed.
type Balloon struct {
	Size              int64 `json:"size"`
	DeflateOnOOM      bool  `json:"deflate_on_oom"`
	FreePageReporting bool  `json:"free_page_reporting"`
}

// Modes of consoles.
const (
	ConsoleOff  = "Off"
	ConsoleFile = "File"
)

// Console is where a console goes.
type Console struct {
	Mode string `json:"mode"`
	File string `json:"file,omitempty"`
}

// Vsock is a socket device, which the host reaches by a unix socket that must
// not be there yet.
type Vsock struct {
	CID    uint32 `json:"cid"`
	Socket string `json:"socket"`
}

// LandlockRule lets the program use a path that exists: Access is r, w or rw.
type LandlockRule struct {
	Path   string `json:"path"`
	Access string `json:"access"`
}

// SnapshotConfig says where a snapshot goes.
type SnapshotConfig struct {
	DestinationURL string `json:"destination_url"`
}

// How a machine's memory is brought back from a snapshot's own file.
const (
	Copy = "Copy"
	// CopyOnWrite came after v53.
	CopyOnWrite = "CopyOnWrite"
)

// RestoreConfig says where a snapshot is, and whether it runs at once.
type RestoreConfig struct {
	SourceURL         string `json:"source_url"`
	MemoryRestoreMode string `json:"memory_restore_mode"`
	Resume            bool   `json:"resume"`
}
