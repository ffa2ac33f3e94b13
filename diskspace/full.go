package diskspace

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Full is an error of writing to a file system that had no room.
type Full struct {
	// Dir is the directory that was written to.
	Dir string
	// Err is what went wrong: most often it wraps what the system gave, which is
	// the error for no space, for a quota that is used up, or for a file that would
	// be too large.
	Err error
	// Room is what the file system had shortly after.
	Room Room
}

// Error names the directory and says how to mend it, before what went wrong: that
// may have many lines.
func (f *Full) Error() string {
	is := "is full"
	if !isCause(f.Err) {
		is = "has almost no room left"
	}
	why := fmt.Sprintf("the file system of %s %s (%s of %s are free): make room there; "+
		"`fleeting-plugin-mayfly doctor` says how much of it may be removed",
		f.Dir, is, Size(f.Room.Free), Size(f.Room.Size))
	switch {
	case errors.Is(f.Err, unix.EDQUOT):
		why = fmt.Sprintf("the disk quota for %s is used up: raise it, or make room there", f.Dir)
	case errors.Is(f.Err, unix.EFBIG):
		why = fmt.Sprintf("the file system of %s, or a limit of this process, allows no file of that size: "+
			"lower plugin_config.machine.disk, or move plugin_config.state_dir", f.Dir)
	case f.Room.Files == 0:
		why = fmt.Sprintf("the file system of %s has no inode left for another file: remove files there", f.Dir)
	}
	return why + ": " + f.Err.Error()
}

func (f *Full) Unwrap() error { return f.Err }

// causes are the errors that say that there was no room.
var causes = []error{unix.ENOSPC, unix.EDQUOT, unix.EFBIG}

// IsFull says whether an error comes from a lack of room.
func IsFull(err error) bool { return isCause(err) || errors.As(err, new(*Full)) }

func isCause(err error) bool {
	for _, cause := range causes {
		if errors.Is(err, cause) {
			return true
		}
	}
	return false
}

// Explain puts into an error that comes from a lack of room which directory was
// written to, and what to do. An error that says so already, or that has another
// cause, is returned as it is.
func Explain(dir string, err error) error {
	if !IsFull(err) || errors.As(err, new(*Full)) {
		return err
	}
	room, _ := Of(dir)
	return &Full{Dir: dir, Err: err, Room: room}
}

// Suspect is Explain for what failed without a cause that it could tell, such as a
// program that was killed, or a guest whose disk gave errors: it takes a file
// system without any room worth mentioning for the cause.
func Suspect(dir string, err error) error {
	if err == nil || IsFull(err) {
		return Explain(dir, err)
	}
	room, asked := Of(dir)
	if asked != nil || room.Free >= min(scarce, room.Size/20) && room.Files != 0 {
		return err
	}
	return &Full{Dir: dir, Err: err, Room: room}
}

// scarce is what a file system has at most, in bytes, that is suspected. A program
// that failed may have given back a little.
const scarce = 64 << 20

// Heard is the error behind what a program wrote about its failure, in the C
// locale, when that was a lack of room; else it is nil. A program's exit code does
// not tell.
func Heard(words string) error {
	for _, cause := range causes {
		if strings.Contains(strings.ToLower(words), cause.Error()) {
			return cause
		}
	}
	return nil
}

// Size is a number of bytes for people: in GiB, or in MiB below one.
func Size(bytes int64) string {
	if bytes < 1<<30 {
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}
