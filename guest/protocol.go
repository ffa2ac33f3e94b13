// Package guest is the protocol between the host and the agent inside a
// guest: its messages, their limits, and the host's end of it. What the agent
// does inside a Linux guest lives in agent/.
//
// The protocol is one JSON object a line, over a byte stream that only the
// host can reach (virtio-serial, vsock). The host sends requests, the agent
// answers each with any number of events, the last of which is marked done. The
// host numbers its requests at random, so that it can drop answers that an
// earlier connection left in the stream.
package guest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Version is the version of the protocol. An agent of another version is
// refused: it is part of the image, which is made anew when the agent changes.
const Version = 1

// ErrGone says that the machine of a guest has ended.
var ErrGone = errors.New("machine is gone")

// PortName is the name of the virtio-serial port that the agent listens on.
const PortName = "mayfly.agent.0"

const (
	// MaxLine is the longest line, in bytes, that either end takes.
	MaxLine = 64 << 10
	// MaxChunk is the most bytes of output that one event carries: as base64
	// in JSON they stay well below MaxLine.
	MaxChunk = 32 << 10
	// MinEntropy and MaxEntropy bound the fresh random bytes of a rekey.
	MinEntropy = 32
	MaxEntropy = 512
)

// FreezeLimit is how long a guest stays frozen that is not told to thaw. It leaves time
// to copy a large disk on a slow host.
const FreezeLimit = 10 * time.Minute

// Operations that the host asks for.
const (
	// OpRekey gives the guest its identity; see Rekey.
	OpRekey = "rekey"
	// OpWake gives a resumed guest fresh entropy and the time; see Fresh.
	OpWake = "wake"
	// OpNetwork sets up the network without an identity, for a prebuild.
	OpNetwork = "network"
	// OpAwait does, in a template, what a rekey of its forks would otherwise have
	// to do; see Await.
	OpAwait = "await"
	// OpInspect refuses a guest that holds what the forks of a template must not
	// have in common.
	OpInspect = "inspect"
	// OpOffline undoes OpNetwork, and ends the connections that lead outside.
	OpOffline = "offline"
	// OpRun runs a shell command as root; its output comes as events.
	OpRun = "run"
	// OpSetenv sets a variable for the commands that run after it; see Variable.
	OpSetenv = "setenv"
	// OpPut writes a piece of a file; see Put.
	OpPut = "put"
	// OpFetch sends the bytes of a file as events.
	OpFetch = "fetch"
	// OpFreeze has nothing but the agent write to the disk, so that the host can copy
	// it, until OpThaw or for FreezeLimit.
	OpFreeze = "freeze"
	OpThaw   = "thaw"
	// OpJob tells which job is in the guest; see Job.
	OpJob = "job"
	// OpSeal prepares the disk for being a golden image.
	OpSeal = "seal"
	// OpPowerOff ends the guest.
	OpPowerOff = "poweroff"
)

// Errors of the protocol.
var (
	// ErrTooLong says that a line is longer than MaxLine.
	ErrTooLong = fmt.Errorf("line longer than %d bytes", MaxLine)
	// ErrMessage says that a line is not a message.
	ErrMessage = errors.New("not a message")
	// ErrVersion says that the other end speaks another Version.
	ErrVersion = errors.New("protocol version does not match")
)

// Request is what the host asks.
type Request struct {
	Version int    `json:"v"`
	ID      uint64 `json:"id"`
	Op      string `json:"op"`
	// Command belongs to OpRun, Path to OpFetch, Rekey to OpRekey, Wake to
	// OpWake, Await to OpAwait.
	Command string `json:"command,omitempty"`
	Path    string `json:"path,omitempty"`
	Rekey   *Rekey `json:"rekey,omitempty"`
	Wake    *Fresh `json:"wake,omitempty"`
	Await   *Await `json:"await,omitempty"`
	// Put belongs to OpPut, Variable to OpSetenv.
	Put      *Put      `json:"put,omitempty"`
	Variable *Variable `json:"variable,omitempty"`
}

// Rekey is what a guest needs to get its own identity.
type Rekey struct {
	Identity
	Fresh
}

// Fresh is what a guest's memory cannot hold when it is restored.
type Fresh struct {
	// Entropy is fresh random bytes from the host: without them all machines
	// restored from one memory would draw the same numbers.
	Entropy []byte `json:"entropy"`
	// Time is the host's clock.
	Time time.Time `json:"time"`
}

// Await is what the identities of all a template's forks have in common; nothing
// of it is secret. The agent sets up the network as well, so the host must have
// cut the template off from it before.
type Await struct {
	// User is the account that jobs log in to.
	User string `json:"user"`
	// Link is that of most forks; a rekey changes it where it differs.
	Link Link `json:"link,omitzero"`
}

// Event is what the agent answers.
type Event struct {
	Version int    `json:"v"`
	ID      uint64 `json:"id"`
	// Output is a piece of a command's output or of a file.
	Output []byte `json:"output,omitempty"`
	// Done marks the last event of a request. Error says why it failed, Exit
	// is the exit code of a command that ran.
	Done  bool   `json:"done,omitempty"`
	Error string `json:"error,omitempty"`
	Exit  int    `json:"exit,omitempty"`
}

// Validate says what is wrong with a request before anything is done for it.
func (r Request) Validate() error {
	switch {
	case r.Version != Version:
		return fmt.Errorf("%w: request has %d, this agent speaks %d", ErrVersion, r.Version, Version)
	case r.Op == OpRekey && r.Rekey == nil:
		return errors.New("rekey without an identity")
	case r.Op == OpRekey:
		return r.Rekey.validate()
	case r.Op == OpWake && r.Wake == nil:
		return errors.New("wake without the time")
	case r.Op == OpWake:
		return r.Wake.validate(OpWake)
	case r.Op == OpAwait && (r.Await == nil || !ValidUser(r.Await.User) || r.Await.Link.validate() != nil):
		return errors.New("await without an account, or with a malformed account or link")
	case r.Op == OpRun && r.Command == "":
		return errors.New("run without a command")
	case r.Op == OpFetch && r.Path == "":
		return errors.New("fetch without a path")
	case r.Op == OpPut && r.Put != nil:
		return r.Put.validate()
	case r.Op == OpSetenv && r.Variable != nil:
		return r.Variable.validate()
	case r.Op == OpPut || r.Op == OpSetenv:
		return fmt.Errorf("%s without what belongs to it", r.Op)
	case slices.Contains([]string{
		OpNetwork, OpAwait, OpInspect, OpOffline, OpRun, OpFetch, OpFreeze, OpThaw, OpJob, OpSeal, OpPowerOff,
	}, r.Op):
		return nil
	}
	return fmt.Errorf("unknown operation %q", r.Op)
}

func (r Rekey) validate() error {
	if err := r.Fresh.validate(OpRekey); err != nil {
		return err
	}
	return r.Identity.validate()
}

func (f Fresh) validate(op string) error {
	if n := len(f.Entropy); n < MinEntropy || n > MaxEntropy {
		return fmt.Errorf("%s with %d bytes of entropy, want %d to %d", op, n, MinEntropy, MaxEntropy)
	}
	if f.Time.IsZero() {
		return fmt.Errorf("%s without the time", op)
	}
	return nil
}

// Reader reads messages from a stream.
type Reader struct{ lines *bufio.Reader }

// NewReader returns a Reader of the messages in r.
func NewReader(r io.Reader) *Reader {
	return &Reader{lines: bufio.NewReaderSize(r, MaxLine)}
}

// Read reads one message. A line that is too long (ErrTooLong) or not a message
// (ErrMessage) is skipped whole: the next call reads the next line.
func (r *Reader) Read(message any) error {
	line, err := r.lines.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return r.skipLine()
	}
	if err != nil {
		return err
	}
	return decode(line, message)
}

func (r *Reader) skipLine() error {
	for {
		_, err := r.lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return err
		}
		return ErrTooLong
	}
}

func decode(line []byte, message any) error {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(message); err != nil {
		return fmt.Errorf("%w: %w", ErrMessage, err)
	}
	if rest := bytes.TrimSpace(line[decoder.InputOffset():]); len(rest) > 0 {
		return fmt.Errorf("%w: %d bytes after the message", ErrMessage, len(rest))
	}
	return nil
}

// Write writes one message with a single call of w.Write.
func Write(w io.Writer, message any) error {
	line, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encoding a message: %w", err)
	}
	if len(line)+1 > MaxLine {
		return fmt.Errorf("writing %d bytes: %w", len(line)+1, ErrTooLong)
	}
	_, err = w.Write(append(line, '\n'))
	return err
}
