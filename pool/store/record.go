package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// RecordVersion is the version of Record that this program writes. Each older
// version keeps a sample in testdata, which a test reads.
const RecordVersion = 1

// maxRecord is how many bytes a record, or another document of the pool, may have.
// Ours have some thousand.
const maxRecord = 1 << 20

// ErrNewer says that a record was written by a newer program.
var ErrNewer = errors.New("record of a newer version")

// Record is what is remembered of one worker. It holds a private key.
type Record struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	State   string `json:"state"`
	// Reason says why a worker is being deleted, or what it waits for.
	Reason string `json:"reason,omitempty"`
	// How and Acceleration are the backend's words for how the worker was made
	// and what it runs on.
	How          string `json:"how,omitempty"`
	Acceleration string `json:"acceleration,omitempty"`
	ImageDigest  string `json:"image_digest,omitempty"`
	// Address and User are where and as whom jobs log in, PrivateKey is the
	// key they use, in PEM form, and HostKeyPublic the host key to expect, in
	// the form of authorized_keys.
	Address       netip.AddrPort `json:"address,omitzero"`
	User          string         `json:"user,omitempty"`
	PrivateKey    string         `json:"private_key,omitempty"`
	HostKeyPublic string         `json:"host_key_public,omitempty"`
	// Queues are those of the worker's lease: a suspended worker needs as many again.
	Queues    int       `json:"queues,omitempty"`
	CreatedAt time.Time `json:"created_at,omitzero"`
	ReadyAt   time.Time `json:"ready_at,omitzero"`
	// Phases says how many seconds each phase of the creation took. A name with
	// a dot is a part of the phase before the dot.
	Phases map[string]float64 `json:"phases,omitempty"`
	// Held is there for a worker that is held.
	Held *Held `json:"held,omitempty"`
}

// Identity is what has to be known of a worker to log in.
func (r Record) Identity() guest.Identity {
	return guest.Identity{Hostname: r.ID, User: r.User, HostKeyPublic: r.HostKeyPublic}
}

// Held says why a worker is kept for a post-mortem, and until when.
type Held struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Why is who asked for it, and what a job said about that.
	Why string `json:"why"`
	// Saved says that its machine lies in its directory, memory included, and does not run.
	Saved bool `json:"saved,omitempty"`
}

// Lasts says whether a worker is still to be held.
func (h *Held) Lasts(now time.Time) bool { return h != nil && now.Before(h.Until) }

// Describe is the hold as a line for people.
func (h *Held) Describe(now time.Time) string {
	how := ""
	if h.Saved {
		how = "saved, "
	}
	return fmt.Sprintf("%sheld for another %s: %s", how, max(0, h.Until.Sub(now)).Round(time.Second), h.Why)
}

// Save writes the record into the worker's directory, which must be there. A
// crash leaves the old record or the new one, never half of either.
func (s *Store) Save(record Record) error {
	if err := checkID(record.ID); err != nil {
		return err
	}
	record.Version = RecordVersion
	text, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the record of worker %s: %w", record.ID, err)
	}
	dir := s.Dir(record.ID)
	// Only the owner may read it, whatever the umask and the old file say, and
	// the temporary file lies beside it: renameio would try $TMPDIR first.
	err = renameio.WriteFile(filepath.Join(dir, RecordFile), append(text, '\n'), 0o600,
		renameio.WithStaticPermissions(0o600), renameio.WithTempDir(dir))
	if err != nil {
		return fmt.Errorf("writing the record of worker %s: %w", record.ID, diskspace.Explain(dir, err))
	}
	return nil
}

// Load reads a worker's record. The error wraps fs.ErrNotExist when the worker
// has none, and ErrNewer when this program is too old to understand it.
func (s *Store) Load(id string) (Record, error) {
	if err := checkID(id); err != nil {
		return Record{}, err
	}
	text, err := statefile.Read(filepath.Join(s.Dir(id), RecordFile), maxRecord)
	if err != nil {
		return Record{}, fmt.Errorf("reading the record of worker %s: %w", id, err)
	}
	record, err := decode(text)
	if err != nil {
		return Record{}, fmt.Errorf("reading the record of worker %s: %w", id, err)
	}
	if record.ID != id { // such as that of a directory copied by hand
		return Record{}, fmt.Errorf("reading the record of worker %s: it is of worker %q", id, record.ID)
	}
	return record, nil
}

// decode looks at the version before anything else: the fields of a newer
// record may have other types.
func decode(text []byte) (Record, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return Record{}, err
	}
	switch {
	case head.Version > RecordVersion:
		return Record{}, fmt.Errorf("%w: %d, this program knows %d", ErrNewer, head.Version, RecordVersion)
	case head.Version < 1:
		return Record{}, fmt.Errorf("version is %d, not 1 to %d", head.Version, RecordVersion)
	}
	var record Record
	if err := json.Unmarshal(text, &record); err != nil {
		return Record{}, err
	}
	return record, nil
}
