// Package cloudinit holds what a guest is told through cloud-init's NoCloud
// data source, as data. How it becomes the volume that a guest reads lives in
// seed/; what is told, and to whom, is decided elsewhere. Only the fields that
// somebody fills in are here.
package cloudinit

import "net/netip"

// VolumeLabel is the label by which cloud-init finds the volume.
const VolumeLabel = "cidata"

// Names of the files on the volume.
const (
	UserDataFile      = "user-data"
	MetaDataFile      = "meta-data"
	NetworkConfigFile = "network-config"
)

// UserData is the configuration of the guest.
type UserData struct {
	// PreserveHostname keeps cloud-init away from the host name.
	PreserveHostname bool `yaml:"preserve_hostname,omitempty"`
	// SSHPasswordLogin is always written: without it the image's own setting holds.
	SSHPasswordLogin bool   `yaml:"ssh_pwauth"`
	Users            []User `yaml:"users,omitempty"`
	// SSHKeys are host keys: "ed25519_private", "ed25519_public" and so on to
	// the text of the key.
	SSHKeys        map[string]string `yaml:"ssh_keys,omitempty"`
	PackageUpdate  bool              `yaml:"package_update,omitempty"`
	PackageUpgrade bool              `yaml:"package_upgrade,omitempty"`
	Packages       []string          `yaml:"packages,omitempty"`
	// BootCmd runs early in the first boot, before packages are installed.
	BootCmd [][]string `yaml:"bootcmd,omitempty"`
	// Apt is how packages are found; nil leaves it to cloud-init.
	Apt *Apt `yaml:"apt,omitempty"`
	// CACerts are trusted before packages are installed.
	CACerts *CACerts `yaml:"ca_certs,omitempty"`
	// RunCmd runs at the end of the first boot: a list of commands, each a list of
	// arguments, which no shell splits.
	RunCmd [][]string `yaml:"runcmd,omitempty"`
	// InitModules, ConfigModules and FinalModules are what the three stages of
	// cloud-init run; empty means the image's own setting.
	InitModules   []string `yaml:"cloud_init_modules,omitempty"`
	ConfigModules []string `yaml:"cloud_config_modules,omitempty"`
	FinalModules  []string `yaml:"cloud_final_modules,omitempty"`
}

// Apt says what becomes of the image's own package sources.
type Apt struct {
	PreserveSourcesList bool `yaml:"preserve_sources_list"`
}

// CACerts are certificates in the PEM form.
type CACerts struct {
	Trusted []string `yaml:"trusted"`
}

// User is an account of the guest.
type User struct {
	Name string `yaml:"name"`
	// Sudo is a rule such as "ALL=(ALL) NOPASSWD:ALL", or empty.
	Sudo  string `yaml:"sudo,omitempty"`
	Shell string `yaml:"shell,omitempty"`
	// LockPasswd is always written: without it cloud-init locks the password.
	LockPasswd bool `yaml:"lock_passwd"`
	// SSHAuthorizedKeys are lines of the file of that name.
	SSHAuthorizedKeys []string `yaml:"ssh_authorized_keys,omitempty"`
}

// MetaData is the identity of the guest. Another instance id makes cloud-init
// take the boot for the first.
type MetaData struct {
	InstanceID    string `yaml:"instance-id"`
	LocalHostname string `yaml:"local-hostname"`
}

// NetworkConfig is the one interface of a guest, with a static address.
type NetworkConfig struct {
	// MAC finds the interface, which is then called Name.
	MAC        string
	Name       string
	Address    netip.Prefix
	Gateway    netip.Addr
	Nameserver netip.Addr
}
