package ledger

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// writeTo names the ledger that the test binary, run again, writes to until it is
// killed. It prints the number of each event that is written.
const writeTo = "MAYFLY_TEST_WRITE_LEDGER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writeTo); dir != "" {
		writeUntilKilled(dir)
	}
	os.Exit(m.Run())
}

func writeUntilKilled(dir string) {
	l, err := open(dir, limits{segment: 64 << 10, all: 1 << 30, age: time.Hour})
	for n := 0; err == nil; n++ {
		if err = l.Write(numbered(n)); err == nil {
			fmt.Println(n)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// worker is the id of a worker in these tests.
const worker = "linux-aaaaaaaa"

func numbered(n int) Event { return Event{Worker: worker, Kind: Waits, Reason: strconv.Itoa(n)} }

func openTest(t *testing.T, dir string, limits limits) *Ledger {
	t.Helper()
	l, err := open(dir, limits)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

// all reads a whole ledger.
func all(t require.TestingT, dir string) (events []Event) {
	for event, err := range Read(dir, time.Time{}) {
		require.NoError(t, err)
		events = append(events, event)
	}
	return events
}

// reasons are those of all events of a ledger.
func reasons(t require.TestingT, dir string) (reasons []string) {
	for _, e := range all(t, dir) {
		reasons = append(reasons, e.Reason)
	}
	return reasons
}

func TestAWriterThatIsKilledLosesNothingThatIsWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Dir)
	written := 0
	for round := range 5 {
		other := exec.Command(os.Args[0])
		other.Env = append(os.Environ(), writeTo+"="+dir)
		stdout, err := other.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, other.Start())
		said := bufio.NewScanner(stdout)
		for n := 0; n < 100+37*round && said.Scan(); n++ {
			if n == 50 {
				require.NotEmpty(t, all(t, dir), "it is read while it is written")
			}
		}
		require.NoError(t, other.Process.Kill())
		last := said.Text()
		for said.Scan() { // what it had said before it was killed
			last = said.Text()
		}
		require.Error(t, other.Wait())
		most, err := strconv.Atoi(last)
		require.NoError(t, err, last)

		found := reasons(t, dir)[written:]
		require.GreaterOrEqual(t, len(found), most+1, "the last one that was said to be written is there")
		for n, reason := range found {
			require.Equal(t, strconv.Itoa(n), reason, "none is missing in between")
		}
		written += len(found)
	}
}

// TestAFileThatEndsAnywhere cuts a file at each of its bytes: what was whole is read, and
// what is written after that too.
func TestAFileThatEndsAnywhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Dir)
	l := openTest(t, dir, kept)
	for n := range 3 {
		require.NoError(t, l.Write(numbered(n)))
	}
	text, err := os.ReadFile(segmentPath(dir, 1))
	require.NoError(t, err)
	for cut := range len(text) + 1 {
		dir := filepath.Join(t.TempDir(), Dir)
		require.NoError(t, os.MkdirAll(dir, 0o700))
		require.NoError(t, os.WriteFile(segmentPath(dir, 1), text[:cut], 0o600))
		var whole []string
		for n := range bytes.Count(text[:cut], []byte("\n")) {
			whole = append(whole, strconv.Itoa(n))
		}
		require.Equal(t, whole, reasons(t, dir), cut)
		if cut > 0 && cut < len(text) && text[cut] == '\n' { // only the end of the line is missing
			whole = append(whole, strconv.Itoa(len(whole)))
		}
		require.NoError(t, openTest(t, dir, kept).Write(numbered(7)))
		require.Equal(t, append(whole, "7"), reasons(t, dir), cut)
	}
}

func TestALedgerKeepsWithinItsLimits(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Dir)
	l := openTest(t, dir, limits{segment: 1 << 10, all: 8 << 10, age: time.Hour})
	for n := range 1000 {
		require.NoError(t, l.Write(numbered(n)))
		found, err := segments(dir)
		require.NoError(t, err)
		size := int64(0)
		for _, s := range found {
			require.LessOrEqual(t, s.size, int64(1<<10))
			size += s.size
		}
		require.LessOrEqual(t, size, int64(8<<10))
	}
	found := reasons(t, dir)
	require.Greater(t, len(found), 40)
	for i, reason := range found {
		require.Equal(t, strconv.Itoa(1000-len(found)+i), reason, "the last ones are kept")
	}

	old, err := segments(dir)
	require.NoError(t, err)
	require.NoError(t, os.Chtimes(segmentPath(dir, old[0].number), time.Time{}, time.Now().Add(-2*time.Hour)))
	require.NoError(t, l.Close())
	openTest(t, dir, limits{segment: 1 << 10, all: 8 << 10, age: time.Hour})
	left, err := segments(dir)
	require.NoError(t, err)
	require.Len(t, left, len(old)-1, "what is too old goes when the ledger is opened")
}

func TestAnotherDayIsAnotherFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Dir)
	l := openTest(t, dir, kept)
	require.NoError(t, l.Write(numbered(0)))
	require.NoError(t, l.Close())
	yesterday := time.Now().Add(-24 * time.Hour)
	require.NoError(t, os.Chtimes(segmentPath(dir, 1), yesterday, yesterday))
	l = openTest(t, dir, kept)
	require.NoError(t, l.Write(numbered(1)))
	require.NoError(t, l.Write(numbered(2)))
	found, err := segments(dir)
	require.NoError(t, err)
	require.Len(t, found, 2)
	require.Equal(t, []string{"0", "1", "2"}, reasons(t, dir))
	var today []string
	for e, err := range Read(dir, time.Now().Add(-time.Hour)) {
		require.NoError(t, err)
		today = append(today, e.Reason)
	}
	require.Equal(t, []string{"1", "2"}, today, "the older file is not even opened")
}

func TestOnlyItsOwnerReadsALedger(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Dir)
	require.NoError(t, openTest(t, dir, kept).Write(numbered(0)))
	for path, mode := range map[string]os.FileMode{dir: 0o700, segmentPath(dir, 1): 0o600} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), path)
	}
}

func TestWhatIsNotTheLedgersIsLeftAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Dir)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "lost+found"), 0o700))
	precious := filepath.Join(t.TempDir(), "precious")
	require.NoError(t, os.WriteFile(precious, []byte("precious"), 0o600))
	require.NoError(t, os.Symlink(precious, segmentPath(dir, 1)))
	require.NoError(t, os.Mkdir(segmentPath(dir, 2), 0o700))
	l := openTest(t, dir, limits{segment: 200, all: 1000, age: time.Hour})
	for n := range 20 {
		require.NoError(t, l.Write(numbered(n)))
	}
	require.NotEmpty(t, all(t, dir))
	text, err := os.ReadFile(precious)
	require.NoError(t, err)
	require.Equal(t, "precious", string(text))
	require.DirExists(t, segmentPath(dir, 2))

	elsewhere := filepath.Join(t.TempDir(), Dir)
	require.NoError(t, os.Symlink(dir, elsewhere))
	_, err = Open(elsewhere)
	require.ErrorContains(t, err, "symbolic link")
}

func TestFollowingGoesOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Dir)
	var followed []string
	var writing sync.WaitGroup
	writing.Go(func() {
		l, err := open(dir, limits{segment: 1 << 10, all: 1 << 30, age: time.Hour})
		for n := 0; n < 200 && err == nil; n++ {
			err = l.Write(numbered(n))
		}
		if err != nil {
			t.Error(err)
			return
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	for event, err := range Follow(t.Context(), dir, time.Time{}) {
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(len(followed)), event.Reason)
		if followed = append(followed, event.Reason); len(followed) == 200 {
			break
		}
	}
	writing.Wait()
}

// TestWhatAReaderHasReadComesOnce has writer and reader take turns, with lines in between
// that no writer of ours makes.
func TestWhatAReaderHasReadComesOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		root, err := os.MkdirTemp("", "ledger")
		require.NoError(t, err)
		defer os.RemoveAll(root)
		dir := filepath.Join(root, Dir)
		limits := limits{segment: 512, all: 1 << 30, age: time.Hour}
		l, err := open(dir, limits)
		require.NoError(t, err)
		defer func() { l.Close() }()
		reader := NewReader(dir, time.Time{})
		written, seen := 0, 0
		read := func() {
			for {
				events, err := reader.Next()
				require.NoError(t, err)
				if len(events) == 0 {
					return
				}
				for _, e := range events {
					require.Equal(t, strconv.Itoa(seen), e.Reason)
					seen++
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				require.NoError(t, l.Write(numbered(written)))
				written++
			},
			"read": func(*rapid.T) { read() },
			"open again": func(t *rapid.T) {
				require.NoError(t, l.Close())
				l, err = open(dir, limits)
				require.NoError(t, err)
			},
			"die while writing": func(t *rapid.T) {
				require.NoError(t, l.Close())
				foreign := []byte(rapid.SampledFrom([]string{
					"", "\n", "{\"at\":\"2026", "\x00\xff\r", "[]\n", strings.Repeat("long", maxLine),
				}).Draw(t, "foreign"))
				file, err := os.OpenFile(segmentPath(dir, l.at), os.O_WRONLY|os.O_APPEND, 0)
				require.NoError(t, err)
				_, err = file.Write(foreign)
				require.NoError(t, err)
				require.NoError(t, file.Close())
				l, err = open(dir, limits)
				require.NoError(t, err)
			},
		})
		read()
		require.Equal(t, written, seen)
	})
}

func TestAFullDiskIsCounted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Dir)
	l := openTest(t, dir, kept)
	require.NoError(t, l.Write(numbered(0)))
	whole := l.file
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("this system has no /dev/full: ", err)
	}
	defer full.Close()
	l.file = full
	for range 3 {
		require.ErrorContains(t, l.Write(numbered(1)), "is full")
	}
	l.file = whole
	require.NoError(t, l.Write(numbered(2)))
	require.NoError(t, l.Write(numbered(3)))
	events := all(t, dir)
	require.Len(t, events, 3)
	require.Equal(t, []int{0, 3, 0}, []int{events[0].Lost, events[1].Lost, events[2].Lost})
}

func TestWritingAfterTheEnd(t *testing.T) {
	l := openTest(t, filepath.Join(t.TempDir(), Dir), kept)
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.Write(numbered(0)), os.ErrClosed)
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Dir)
	l := openTest(t, dir, kept)
	at := time.Date(2026, 11, 30, 3, 0, 0, 123456000, time.UTC)
	want := []Event{
		{At: at, Worker: worker, Kind: Promised},
		{At: at, Worker: worker, Kind: Entered, Phase: "wait_image"},
		{At: at, Worker: worker, Kind: Waits, Reason: "the golden image is not built yet"},
		{At: at, Worker: worker, Kind: Passed, Phase: "start.disk"},
		{At: at, Worker: worker, Kind: Ready, Phase: "run", How: "fork", Image: "1234"},
		{At: at, Worker: worker, Kind: Worked, Job: &Job{ID: 7, Project: "group/ä", Name: "build: [a, b]"}},
		{At: at, Worker: worker, Kind: Used, Usage: &Usage{
			CPUSeconds: 1.5, PeakMemory: 1, BytesIn: 2, BytesOut: 3, DiskWritten: 4,
			Denied: 6, DeniedTo: []Denied{{"tcp", "203.0.113.7:443", 5}},
		}},
		{At: at, Kind: Noted, Phase: "image", Reason: "it is there"},
	}
	for _, e := range want {
		require.NoError(t, l.Write(e))
	}
	require.Equal(t, want, all(t, dir))
}

func TestWhatAGuestSaysIsMadeFit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Dir)
	l := openTest(t, dir, kept)
	long := strings.Repeat("long ", 1000)
	require.NoError(t, l.Write(Event{
		Worker: worker, Kind: Worked, Job: &Job{ID: 1, Project: "\x1b[2Jclear", Name: long},
	}))
	job := all(t, dir)[0].Job
	require.Equal(t, "clear", job.Project)
	require.Less(t, len(job.Name), 400)

	for _, bad := range []Event{
		{Kind: "No Kind"},
		{Worker: "../../etc", Kind: Ready},
		{Worker: worker, Kind: Entered, Phase: "a phase"},
		{Worker: worker, Kind: Worked, Job: &Job{ID: -1}},
		{Worker: worker, Kind: Used, Usage: &Usage{CPUSeconds: -1}},
		{At: time.Unix(0, 0), Worker: worker, Kind: Ready},
	} {
		require.Error(t, l.Write(bad), "%+v", bad)
	}
}

func BenchmarkWrite(b *testing.B) {
	l, err := Open(filepath.Join(b.TempDir(), Dir))
	require.NoError(b, err)
	defer l.Close()
	for b.Loop() {
		if err := l.Write(Event{Worker: worker, Kind: Entered, Phase: "wait_image"}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRead is what a question costs in a ledger that has all that is kept.
func BenchmarkRead(b *testing.B) {
	dir := filepath.Join(b.TempDir(), Dir)
	l, err := Open(dir)
	require.NoError(b, err)
	defer l.Close()
	for size := int64(0); size < kept.all; size += 110 {
		if err := l.Write(Event{Worker: worker, Kind: Entered, Phase: "wait_image"}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		events := 0
		for _, err := range Read(dir, time.Time{}) {
			if err != nil {
				b.Fatal(err)
			}
			events++
		}
		b.ReportMetric(float64(events), "events")
	}
}
