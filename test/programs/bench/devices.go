//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/programs/bench/report"
)

// fileSteps prepare, as root, a repository and an archive of 20,000 files of 1.8
// kB, no two of them alike.
var fileSteps = []string{
	"git config --system safe.directory '*'", // jobs are not root
	"git init -q --bare -b main " + material + "/repository",
	`perl -e 'srand 1;
		print "commit refs/heads/main\ncommitter bench <bench\@localhost> 0 +0000\ndata 0\n";
		for $d (0..199) { for $f (0..99) {
			$t = sprintf("%08x %08x\n", rand 2**32, rand 2**32) x 100;
			printf "M 100644 inline d%d/f%d\ndata %d\n%s\n", $d, $f, length $t, $t } }' |
		git -C ` + material + `/repository -c pack.compression=1 fast-import --quiet`,
	"git -C " + material + "/repository archive -o " + material + "/files.tar main",
}

// chore is what is done on a worker's disk, in a directory of its own.
type chore struct{ row, command string }

// chores are done in this order: some read what others have written. Blocks go
// past the guest's page cache where a command can say so, and all that is written
// is on the disk in the end.
var chores = []chore{
	{"write 256 MiB in sequence", "timed dd if=/dev/zero of=big bs=1M count=256 oflag=direct conv=fsync status=none"},
	{"read 256 MiB in sequence", "timed dd if=big of=/dev/null bs=1M iflag=direct status=none"},
	{"write 8,192 blocks at random", "blocks randwrite 50"},
	{"read 8,192 blocks at random", "blocks randread 9"},
	{"unpack a tar of 20,000 files", `mkdir files
		timed sh -c "tar -C files -xf ` + material + `/files.tar && sync"`},
	{"git checkout of 20,000 files", `git clone -q --shared --no-checkout ` + material + `/repository tree
		timed sh -c "git -C tree checkout -q main && sync"`},
}

// tools are what chores are made with. Each says "took" and microseconds, from
// when nothing of the disk is cached. blocks takes the time from fio's terse
// output, whose field it is told: fio's own start is not the disk's.
const tools = `set -eu
work=$(mktemp -d); cd "$work"; trap 'cd /; rm -rf "$work"' EXIT
calm() { sync; sudo sh -c 'echo 3 >/proc/sys/vm/drop_caches' 2>/dev/null; } # sudo may not know the host's name
now() { echo "${EPOCHREALTIME//[!0-9]/}"; }
timed() { calm; from=$(now); "$@"; echo "took $(($(now) - from))"; }
blocks() {
	calm
	said=$(fio --name=blocks --filename=big --rw="$1" --bs=4k --number_ios=8192 --size=256M --direct=1 --end_fsync=1 \
		--ioengine=libaio --iodepth=16 --randseed=1 --output-format=terse --terse-version=3)
	echo "took $(($(echo "$said" | cut -d ';' -f "$2") * 1000))"
}
`

// choresScript does all chores.
func choresScript() string {
	commands := make([]string, len(chores))
	for i, c := range chores {
		commands[i] = c.command
	}
	return "exec 2>&1\n" + tools + strings.Join(commands, "\n") + "\n"
}

// parseChores reads what the script has said, and nothing else may be in it.
func parseChores(said string) (map[string]float64, error) {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if len(lines) != len(chores) {
		return nil, fmt.Errorf("%d lines, not %d: %q", len(lines), len(chores), said)
	}
	took := make(map[string]float64)
	for i, line := range lines {
		number, found := strings.CutPrefix(line, "took ")
		microseconds, err := strconv.ParseInt(number, 10, 64)
		if !found || err != nil || microseconds <= 0 {
			return nil, fmt.Errorf("%s: not a time: %q", chores[i].row, line)
		}
		took[chores[i].row] = seconds(time.Duration(microseconds) * time.Microsecond)
	}
	return took, nil
}

// What is sent over a worker's own link, one way after the other, between the
// worker and this host: nothing else can open a connection to it.
const (
	sent       = 256 << 20
	sentPort   = 5001
	toWorker   = "send 256 MiB to the worker by TCP"
	fromWorker = "send 256 MiB from the worker by TCP"
)

// What socat does on the worker meanwhile.
var (
	reads  = fmt.Sprintf("-u TCP-LISTEN:%d,reuseaddr OPEN:/dev/null", sentPort)
	writes = fmt.Sprintf("-u OPEN:/dev/zero,readbytes=%d TCP-LISTEN:%d,reuseaddr", int64(sent), sentPort)
)

// choresLimit bounds all that is done on one worker.
const choresLimit = 15 * time.Minute

// measureDevices measures disk and network inside workers that have come to rest.
func (b *bench) measureDevices(ctx context.Context, s *stage, d *report.Document) error {
	old, err := b.addOldWay(ctx, s)
	if err != nil {
		return err
	}
	forks, err := b.addForks(ctx, report.Fork, s.config)
	if err != nil {
		return err
	}
	var rows []string
	for _, c := range chores {
		rows = append(rows, c.row)
	}
	rows = append(rows, toWorker, fromWorker)
	var ways []way
	for _, m := range []method{old, s.clones, forks} {
		ways = append(ways, way{m.name(), func(ctx context.Context) (map[string]float64, error) {
			return b.insideOf(ctx, m)
		}})
	}
	return b.compare(ctx, d, report.SectionDevices, rows, ways)
}

func (b *bench) insideOf(ctx context.Context, m method) (took map[string]float64, err error) {
	err = one(ctx, m, func(w worker) error {
		ctx, cancel := context.WithTimeoutCause(ctx, choresLimit, fmt.Errorf("not done within %s", choresLimit))
		defer cancel()
		if err := b.settle(ctx, []worker{w}, settleLimit); err != nil {
			return err
		}
		said, err := w.run(ctx, choresScript())
		if err != nil {
			return fmt.Errorf("chores on the worker's disk: %w: %s", err, said)
		}
		if took, err = parseChores(said); err != nil {
			return fmt.Errorf("chores on the worker's disk: %w", err)
		}
		if took[toWorker], err = transfer(ctx, w, reads, send); err != nil {
			return fmt.Errorf("%s: %w", toWorker, err)
		}
		took[fromWorker], err = transfer(ctx, w, writes, receive)
		if err != nil {
			return fmt.Errorf("%s: %w", fromWorker, err)
		}
		return nil
	})
	return took, err
}

// transfer has socat listen on the worker, with these arguments, and returns how
// long move takes on a connection to it.
func transfer(
	ctx context.Context, w worker, arguments string, move func(*net.TCPConn) error,
) (took float64, err error) {
	listening, hangUp := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		defer hangUp() // nobody need dial any more
		said, err := w.run(listening, "exec 2>&1; socat -b 262144 "+arguments)
		if err != nil {
			err = fmt.Errorf("socat on the worker: %w: %s", err, said)
		}
		ended <- err
	}()
	connection, err := dial(listening, netip.AddrPortFrom(w.address.Addr(), sentPort))
	if err == nil {
		stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
		began := time.Now()
		err = move(connection)
		took = seconds(time.Since(began))
		stop()
		_ = connection.Close()
	}
	if err != nil {
		hangUp()
	}
	return took, errors.Join(err, <-ended)
}

// dial tries until somebody listens.
func dial(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	for {
		connection, err := new(net.Dialer).DialContext(ctx, "tcp", to.String())
		if err == nil {
			return connection.(*net.TCPConn), nil
		}
		select {
		case <-time.After(updateInterval):
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), err)
		}
	}
}

// send returns when the other end has read all and hangs up.
func send(connection *net.TCPConn) error {
	_, err := io.CopyN(connection, zeros{}, sent)
	if err == nil {
		err = connection.CloseWrite()
	}
	if err == nil {
		_, err = io.Copy(io.Discard, connection)
	}
	return err
}

// receive returns when all has come.
func receive(connection *net.TCPConn) error {
	n, err := io.Copy(io.Discard, connection)
	if err == nil && n != sent {
		err = fmt.Errorf("%d bytes came, not %d", n, int64(sent))
	}
	return err
}

// zeros is a reader of zeros without end.
type zeros struct{}

func (zeros) Read(into []byte) (int, error) {
	clear(into)
	return len(into), nil
}
