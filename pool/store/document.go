package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/diskspace"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/statefile"
)

// writeDocument replaces a file by another, or leaves it. Nobody but the owner
// reads either.
func writeDocument(path string, document any) error {
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	err = renameio.WriteFile(path, append(text, '\n'), 0o600,
		renameio.WithStaticPermissions(0o600), renameio.WithTempDir(dir))
	return diskspace.Explain(dir, err)
}

// readDocument is false when there is none. A document of another version is an error;
// version is that of the document, once it is read.
func readDocument(path string, document any, version *int) (there bool, err error) {
	text, err := statefile.Read(path, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, document)
	}
	if err == nil && *version != RecordVersion {
		err = fmt.Errorf("version is %d, not %d", *version, RecordVersion)
	}
	return err == nil, err
}

// removeDocument is idempotent.
func removeDocument(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
