//go:build linux

package main

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"os"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/fakes/fakeguest"
)

func create(args []string) error {
	given, names, err := options(args, map[string]bool{
		"-d": true, "-t": true, "-s": true, "-c": true, "-m": true, "-i": true, "-C": false, "-k": true, "-u": true,
		"-n": true,
	})
	if err != nil {
		return err
	}
	template := store(".templates", cmp.Or(given["-t"], "default")+".conf")
	switch {
	case len(names) != 1 || !guestName.MatchString(names[0]):
		return help("create NAME")
	case exists(store(names[0])):
		return bad("virtual machine already exists in %s", store(names[0]))
	case !exists(template):
		return bad("unable to find template %s", template)
	case given["-C"] == "" && (given["-k"] != "" || given["-u"] != "" || given["-n"] != ""):
		return bad("-k, -u and -n need -C")
	case given["-k"] != "" && given["-u"] != "":
		return bad("-k and -u exclude each other")
	case given["-k"] != "" && !exists(given["-k"]):
		return bad("ssh public key file %s does not exist", given["-k"])
	case given["-i"] != "" && !exists(store(".img", given["-i"])):
		return bad("unable to find image %s", given["-i"])
	}
	name := names[0]
	text, err := os.ReadFile(store(".img", given["-i"]))
	if err != nil {
		return bad("the fake makes guests of images only")
	}
	var disk fakeguest.Disk
	if err := json.Unmarshal(text, &disk); err != nil {
		return bad("qemu-img: could not read %s", given["-i"])
	}
	if err := disk.Make(store(name, "disk0")); err != nil {
		return err
	}
	if given["-k"] != "" {
		key, err := os.ReadFile(given["-k"])
		if err != nil {
			return err
		}
		if err := disk.FirstKey(store(name, "disk0"), string(key)); err != nil {
			return err
		}
	}
	c, err := readConf(template)
	if err != nil {
		return err
	}
	c.path = store(name, name+".conf")
	for option, key := range map[string]string{"-c": "cpu", "-m": "memory"} {
		if given[option] != "" {
			c.set(key, given[option])
		}
	}
	c.set("uuid", randomHex(16))
	c.set("network0_mac", newMAC())
	c.set("disk0_size", given["-s"])
	return c.write()
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func newMAC() string {
	h := randomHex(3)
	return "58:9c:fc:0" + h[1:2] + ":" + h[2:4] + ":" + h[4:6]
}
