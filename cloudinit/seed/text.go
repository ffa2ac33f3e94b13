package seed

import (
	"bytes"
	"fmt"
	"net/netip"

	"go.yaml.in/yaml/v3"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/cloudinit"
)

// userData is the text of the file user-data. By its first line cloud-init tells
// configuration from a script.
func userData(data cloudinit.UserData) ([]byte, error) {
	text, err := marshal(data)
	if err != nil {
		return nil, fmt.Errorf("writing user-data: %w", err)
	}
	return append([]byte("#cloud-config\n"), text...), nil
}

// metaData is the text of the file meta-data.
func metaData(data cloudinit.MetaData) ([]byte, error) {
	text, err := marshal(data)
	if err != nil {
		return nil, fmt.Errorf("writing meta-data: %w", err)
	}
	return text, nil
}

// networkConfig is the text of the file network-config, in version 2 of the
// format.
func networkConfig(config cloudinit.NetworkConfig) ([]byte, error) {
	text, err := marshal(network{
		Version: 2,
		Ethernets: map[string]ethernet{config.Name: {
			Match:       match{MACAddress: config.MAC},
			SetName:     config.Name,
			Addresses:   []netip.Prefix{config.Address},
			Routes:      []route{{To: everywhere(config.Gateway), Via: config.Gateway}},
			Nameservers: nameservers{Addresses: []netip.Addr{config.Nameserver}},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("writing network-config: %w", err)
	}
	return text, nil
}

type network struct {
	Version   int                 `yaml:"version"`
	Ethernets map[string]ethernet `yaml:"ethernets"`
}

type ethernet struct {
	Match       match          `yaml:"match"`
	SetName     string         `yaml:"set-name"`
	Addresses   []netip.Prefix `yaml:"addresses"`
	Routes      []route        `yaml:"routes"`
	Nameservers nameservers    `yaml:"nameservers"`
}

type match struct {
	MACAddress string `yaml:"macaddress"`
}

type nameservers struct {
	Addresses []netip.Addr `yaml:"addresses"`
}

type route struct {
	To  netip.Prefix `yaml:"to"`
	Via netip.Addr   `yaml:"via"`
}

// everywhere is the default route in numbers: older cloud-inits do not know
// the word "default", newer ones warn about gateway4.
func everywhere(via netip.Addr) netip.Prefix {
	if via.Is6() {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// inFlow has a value encoded in flow style (brackets and braces) at every depth.
// In block style the library writes some strings of more than one line in a way
// that cannot be read back.
type inFlow struct {
	Value any `yaml:"value,flow"`
}

func marshal(value any) ([]byte, error) {
	var document yaml.Node
	if err := document.Encode(inFlow{value}); err != nil {
		return nil, err
	}
	content := document.Content[1] // after the key
	restyle(content)
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(content); err != nil {
		return nil, err
	}
	if err := encoder.Close(); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

// restyle puts collections on lines of their own, and quotes every string that is
// a value: cloud-init reads YAML 1.1, in which a plain = or 12:30 is not a string.
func restyle(node *yaml.Node) {
	node.Style = 0
	for i, child := range node.Content {
		restyle(child)
		isKey := node.Kind == yaml.MappingNode && i%2 == 0
		if child.Kind == yaml.ScalarNode && child.Tag == "!!str" && !isKey {
			child.Style = yaml.DoubleQuotedStyle
		}
	}
}
