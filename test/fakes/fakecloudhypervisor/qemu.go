//go:build linux

package fakecloudhypervisor

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// qemu is the machine behind the fake.
type qemu struct {
	dir  string // of its sockets
	cmd  *exec.Cmd
	done chan struct{}

	mu      sync.Mutex
	conn    net.Conn
	answers chan answer
	// migrated gets the end of each migration.
	migrated chan string
}

type answer struct {
	Return *json.RawMessage `json:"return"`
	Error  *struct{ Desc string }
	Event  string
	Data   struct{ Reason, Status string }
}

// run starts QEMU, to boot, or to restore what lies in incoming.
func (v *vmm) run(c *vmConfig, incoming string) error {
	if err := c.validate(); err != nil {
		return err
	}
	// The one directory where it may make files: what a killed program leaves goes
	// with it.
	dir, err := os.MkdirTemp(filepath.Dir(c.Vsock.Socket), "q")
	if err != nil {
		return err
	}
	q := &qemu{dir: dir, done: make(chan struct{}), answers: make(chan answer, 1), migrated: make(chan string, 1)}
	q.cmd = exec.Command("qemu-system-x86_64", c.arguments(dir, incoming != "")...)
	q.cmd.Stderr = os.Stderr
	q.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	v.start <- func() { started <- q.cmd.Start() }
	if err := <-started; err != nil {
		return err
	}
	go v.reap(q)
	if err := q.connect(v); err != nil {
		_ = q.cmd.Process.Kill()
		return err
	}
	if incoming != "" {
		if err := q.migrate("migrate-incoming", "tail -n +2 "+incoming, c.memoryFile() != ""); err != nil {
			_ = q.cmd.Process.Kill()
			return err
		}
	}
	v.vm = q
	return v.relay(c.Vsock.Socket, filepath.Join(dir, "agent"))
}

// reap waits for QEMU's end. The guest has shut down then, unless it was to
// reboot: that Cloud Hypervisor survives.
func (v *vmm) reap(q *qemu) {
	_ = q.cmd.Wait()
	_ = os.RemoveAll(q.dir)
	close(q.done)
}

// arguments are QEMU's command line, the same for a machine that is saved and
// one that is restored.
func (c *vmConfig) arguments(dir string, incoming bool) []string {
	machine, size := "q35", c.Memory.Size
	var args []string
	for _, zone := range c.Memory.Zones {
		share := map[bool]string{true: "on", false: "off"}[zone.Shared]
		size = zone.Size
		machine += ",memory-backend=zone"
		if zone.File == "" {
			args = append(args, "-object", fmt.Sprintf("memory-backend-ram,id=zone,size=%d", zone.Size))
			continue
		}
		args = append(args, "-object", fmt.Sprintf("memory-backend-file,id=zone,size=%d,mem-path=%s,share=%s",
			zone.Size, zone.File, share))
	}
	args = append(args, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", machine, "-accel", "tcg,tb-size=128", // MiB; KVM would need none
		"-cpu", "max", "-smp", fmt.Sprint(c.CPUs.Boot), "-m", fmt.Sprint(size>>20),
		"-kernel", c.Payload.Kernel, "-initrd", c.Payload.Initramfs,
		"-append", c.Payload.Cmdline+" mitigations=off nokaslr tsc=reliable no_timer_check",
		"-chardev", "file,id=console,append=on,path="+c.Serial.File, "-serial", "chardev:console",
		"-device", "virtio-rng-pci", "-device", "pvpanic-pci",
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=agent,server=on,wait=off,path="+filepath.Join(dir, "agent"),
		"-device", "virtserialport,chardev=agent,name=mayfly.agent.0",
		"-qmp", "unix:"+filepath.Join(dir, "qmp")+",server=on,wait=off")
	for _, disk := range c.Disks {
		format := map[string]string{"Raw": "raw", "Qcow2": "qcow2"}[disk.ImageType]
		readonly := map[bool]string{true: "on", false: "off"}[disk.ReadOnly]
		args = append(args,
			"-blockdev", fmt.Sprintf("driver=%s,node-name=%s,read-only=%s,file.driver=file,file.filename=%s,"+
				"cache.no-flush=on,discard=unmap",
				format, disk.ID, readonly, disk.Path),
			"-device", "virtio-blk-pci,drive="+disk.ID)
	}
	for _, net := range c.Net {
		netdev := "tap,id=" + net.ID + ",ifname=" + net.TAP + ",script=no,downscript=no"
		device := "virtio-net-pci,netdev=" + net.ID + ",romfile=,mac=" + net.MAC
		if net.Queues > 2 {
			netdev += fmt.Sprint(",queues=", net.Queues/2)
			device += ",mq=on"
		}
		args = append(args, "-netdev", netdev, "-device", device)
	}
	if incoming {
		args = append(args, "-incoming", "defer")
	}
	return args
}

// connect waits until QEMU serves QMP, and reads its events from then on.
func (q *qemu) connect(v *vmm) (err error) {
	for range 600 {
		if q.conn, err = net.Dial("unix", filepath.Join(q.dir, "qmp")); err == nil {
			break
		}
		select {
		case <-q.done:
			return errors.New("QEMU ended: the machine could not be made")
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err != nil {
		return err
	}
	go q.read(v)
	return q.execute("qmp_capabilities", nil)
}

func (q *qemu) read(v *vmm) {
	lines := bufio.NewScanner(q.conn)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var a answer
		if json.Unmarshal(lines.Bytes(), &a) != nil {
			continue
		}
		switch {
		case a.Return != nil || a.Error != nil:
			q.answers <- a
		case a.Event != "":
			q.note(v, a)
		}
	}
	close(q.answers)
}

// note turns QEMU's events into those of the event monitor.
func (q *qemu) note(v *vmm, a answer) {
	switch {
	case a.Event == "MIGRATION" && (a.Data.Status == "completed" || a.Data.Status == "failed"):
		q.migrated <- a.Data.Status
	case a.Event == "GUEST_PANICKED":
		v.event("guest", "panic")
	case a.Event == "SHUTDOWN" && a.Data.Reason == "guest-reset":
		v.event("vm", "rebooting") // and the program goes on
	case a.Event == "SHUTDOWN" && a.Data.Reason == "guest-shutdown":
		go func() {
			<-q.done
			v.mu.Lock()
			defer v.mu.Unlock()
			v.finish()
		}()
	}
}

// execute sends a command and waits for its answer.
func (q *qemu) execute(command string, arguments any) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	text, err := json.Marshal(map[string]any{"execute": command, "arguments": arguments})
	if arguments == nil {
		text, err = json.Marshal(map[string]any{"execute": command})
	}
	if err != nil {
		return err
	}
	if _, err := q.conn.Write(append(text, '\n')); err != nil {
		return err
	}
	a, ok := <-q.answers
	switch {
	case !ok && command != "quit":
		return errors.New("QEMU is gone")
	case ok && a.Error != nil:
		return errors.New(a.Error.Desc)
	}
	return nil
}

// migrate saves the machine's state through a shell command, or restores it.
// Memory that lies in a file is left out.
func (q *qemu) migrate(command, shell string, inFile bool) error {
	type capability struct {
		Name  string `json:"capability"`
		State bool   `json:"state"`
	}
	wanted := map[string]any{"capabilities": []capability{{"x-ignore-shared", inFile}, {"events", true}}}
	if err := q.execute("migrate-set-capabilities", wanted); err != nil {
		return err
	}
	if err := q.execute(command, map[string]any{"uri": "exec:" + shell}); err != nil {
		return err
	}
	select {
	case status := <-q.migrated:
		if status != "completed" {
			return errors.New("migration " + status)
		}
		return nil
	case <-q.done:
		return errors.New("QEMU ended: the state does not fit the machine")
	}
}
