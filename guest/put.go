package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
)

// File is where a file of a guest is, and whose it is.
type File struct {
	// Path is absolute. Directories that are missing on the way are made.
	Path string `json:"path"`
	// Mode are the permissions.
	Mode uint32 `json:"mode"`
	// Owner is the name or the number of a user, and after a colon, if there is one,
	// of a group; empty is root.
	Owner string `json:"owner,omitempty"`
}

// Put is a piece of a file. The file is not in its place before the last piece.
type Put struct {
	File
	// Offset is where the piece begins; 0 begins anew.
	Offset int64  `json:"offset"`
	Data   []byte `json:"data,omitempty"`
	Last   bool   `json:"last,omitempty"`
}

func (p Put) validate() error {
	switch {
	case !path.IsAbs(p.Path) || path.Clean(p.Path) != p.Path || p.Path == "/":
		return errors.New("put without an absolute path")
	case p.Mode > 0o7777:
		return errors.New("put with a malformed mode")
	case p.Offset < 0:
		return errors.New("put with a malformed offset")
	}
	return nil
}

// Variable is one of the environment of the commands of OpRun.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

var variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// MaxValue is how many bytes the value of a variable may have: it goes in one line.
const MaxValue = 32 << 10

// ValidVariable tells whether a variable of an environment may have this name.
func ValidVariable(name string) bool { return variablePattern.MatchString(name) }

func (v Variable) validate() error {
	if !ValidVariable(v.Name) {
		return errors.New("setenv without the name of a variable")
	}
	if strings.ContainsRune(v.Value, 0) {
		return errors.New("setenv with a malformed value") // which may be a secret: it is not shown
	}
	return nil
}

// Put writes a file in the guest, with all of content in it.
func (c *Client) Put(ctx context.Context, file File, content io.Reader) error {
	piece := make([]byte, MaxChunk)
	for offset := int64(0); ; {
		n, err := io.ReadFull(content, piece)
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return fmt.Errorf("reading what %s is to hold: %w", file.Path, err)
		}
		put := Put{File: file, Offset: offset, Data: piece[:n], Last: last}
		if err := c.do(ctx, Request{Op: OpPut, Put: &put}, io.Discard); err != nil || last {
			return err
		}
		offset += int64(n)
	}
}

// Setenv sets a variable for all commands that Run runs from now on. It is nowhere in
// the guest but in the memory of its agent and of these commands.
func (c *Client) Setenv(ctx context.Context, name, value string) error {
	return c.do(ctx, Request{Op: OpSetenv, Variable: &Variable{name, value}}, io.Discard)
}
