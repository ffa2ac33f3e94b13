package host

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/pool/store"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// private is the mode of all directories: below are keys, and what jobs wrote
// to their disks.
const private = 0o700

// makeDirectories makes the directories that all pools share, closed to others, also
// when an older version made them, and closes the state directory if it may. Unmake
// removes those that are new and still empty.
func makeDirectories(c config.Config, log *slog.Logger) (unmake func(), err error) {
	var made []string // the deepest last
	unmake = func() {
		for _, dir := range slices.Backward(made) {
			_ = os.Remove(dir) // it may have been put to use
		}
	}
	if err := checkDirectories(c); err != nil {
		return unmake, err
	}
	for _, dir := range []string{filepath.Dir(c.PoolDir()), c.ImagesDir()} {
		made = append(made, missingDirs(dir)...)
		if err := os.MkdirAll(dir, private); err != nil {
			return unmake, fmt.Errorf("making the state directory: %w: %s", err, mendStateDir)
		}
		if err := os.Chmod(dir, private); err != nil {
			return unmake, fmt.Errorf("closing the state directory to others: %w: %s", err, mendStateDir)
		}
	}
	return unmake, closeStateDir(c.StateDir, log)
}

// closeStateDir closes a state directory that somebody has made for more users than
// us, unless others lose something by that: when they may write there, or use what
// lies there. Then it is theirs as well, and is left as it is.
func closeStateDir(dir string, log *slog.Logger) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("looking at the state directory: %w", err)
	}
	if info.Mode()&forOthers == 0 {
		return nil
	}
	leave := func(why string) {
		log.Warn("the state directory is open to other users, and is left so", "dir", dir,
			"mode", info.Mode().Perm().String(), "because", why)
	}
	shared, err := sharedBy(dir, info)
	if err != nil {
		return fmt.Errorf("looking at the state directory: %w", err)
	}
	if shared != "" {
		leave(shared)
		return nil
	}
	err = os.Chmod(dir, private)
	if errors.Is(err, fs.ErrPermission) { // it may be root's, with directories of ours in it
		leave(err.Error())
		return nil
	}
	if err != nil {
		return fmt.Errorf("closing the state directory to others: %w", err)
	}
	log.Warn("the state directory was open to other users, and is closed to them now", "dir", dir,
		"mode_before", info.Mode().Perm().String())
	return nil
}

// checkModes tells of directories that are open to other users, which a plugin closes as
// far as it may. Those that others use too are theirs to close.
func checkModes(c config.Config) (findings []doctor.Finding) {
	for _, dir := range []string{c.StateDir, filepath.Dir(c.PoolDir()), c.ImagesDir()} {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&forOthers == 0 {
			continue
		}
		finding := doctor.Finding{
			Level: doctor.Warning, What: "mode of " + dir,
			Detail: "open to other users: " + info.Mode().Perm().String(),
			Mend:   "close it to them", Command: "chmod 700 " + guest.Quote(dir),
		}
		if shared, err := sharedBy(dir, info); err == nil && shared != "" && dir == c.StateDir {
			finding.Detail += ", and " + shared
			finding.Mend = "use a directory for nothing else as state_dir, or close it to them"
		} else {
			finding.Safe = err == nil
		}
		findings = append(findings, finding)
	}
	return findings
}

// forOthers are the modes that let others in, and forOthersToWrite those that let them
// make and remove what lies in a directory.
const (
	forOthers        fs.FileMode = 0o077
	forOthersToWrite fs.FileMode = 0o022
)

// sharedBy says why a directory is others' too; empty if it is not.
func sharedBy(dir string, info fs.FileInfo) (reason string, err error) {
	if info.Mode()&forOthersToWrite != 0 {
		return "others may write there", nil
	}
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if info.Mode()&forOthers != 0 {
			return "others may use " + entry.Name() + " there", nil
		}
	}
	return "", err
}

// mendStateDir is what to do when nothing can be written there.
const mendStateDir = "let this user write to it, or set plugin_config.state_dir"

// checkDirectories refuses a state directory in which something else stands in the
// place of a directory of ours, as far as this pool has to do with it: what we
// write and remove would be elsewhere, or another user's to exchange.
func checkDirectories(c config.Config) error {
	pool := c.PoolDir() // without links on the way to the state directory, which are the user's to set
	pools := filepath.Dir(pool)
	state := filepath.Dir(pools)
	var wrong []error
	for _, dir := range []string{
		state, pools, filepath.Join(state, "images"), filepath.Join(state, "downloads"),
		filepath.Join(state, "addresses"), filepath.Join(state, "users"), filepath.Join(state, "budget"),
		pool, filepath.Join(pool, store.WorkersDir), filepath.Join(pool, store.EndedDir),
		filepath.Join(pool, "templates"),
	} {
		if err := statefile.CheckDirectory(dir); err != nil {
			wrong = append(wrong, fmt.Errorf("plugin_config.state_dir: %w: chown it or remove it; "+
				"another disk can be mounted there", err))
		}
	}
	return errors.Join(wrong...)
}

// missingDirs returns the directory and those above it that are not there, the
// deepest last.
func missingDirs(dir string) []string {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return append(missingDirs(filepath.Dir(dir)), dir)
}
