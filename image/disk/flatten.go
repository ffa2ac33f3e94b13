//go:build linux

package disk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Flatten makes the new raw disk dst of a clone that a machine has written to: src, in
// the format of a Method, on the raw disk backing. Of what an overlay says in its header,
// no file is opened.
func Flatten(ctx context.Context, src, format, backing, dst string) error {
	if format == Reflink.Format() {
		return Copy(ctx, src, dst)
	}
	if err := checkOverlay(src); err != nil {
		return fmt.Errorf("disk %s: %w", src, err)
	}
	whole, err := onBacking(src, backing)
	if err != nil {
		return fmt.Errorf("disk %s: %w", src, err)
	}
	target, err := filepath.Abs(dst)
	if err != nil {
		return fmt.Errorf("flattening disk %s: %w", src, err)
	}
	if err := reserve(target); err != nil {
		return fmt.Errorf("flattening disk %s: %w", src, err)
	}
	if _, err := run(ctx, "qemu-img", "convert", "-q", "-O", "raw", whole, target); err != nil {
		return errors.Join(fmt.Errorf("flattening disk %s: %w", src, err), os.Remove(target))
	}
	return nil
}

// checkOverlay refuses an overlay that has data elsewhere.
func checkOverlay(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	start, err := readStart(file)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(start, []byte(qcow2Magic)) {
		return errors.New("it is no qcow2 overlay")
	}
	_, err = parseOverlay(start, info.Size())
	return err
}

// onBacking is how QEMU is told to open an overlay on a raw disk, whatever the overlay
// itself says that it lies on.
func onBacking(overlay, backing string) (string, error) {
	type file struct {
		Driver   string `json:"driver"`
		Filename string `json:"filename"`
	}
	type layer struct {
		Driver  string `json:"driver"`
		File    file   `json:"file"`
		Backing *layer `json:"backing,omitempty"`
	}
	var err error
	if overlay, err = filepath.Abs(overlay); err != nil {
		return "", err
	}
	if backing, err = filepath.Abs(backing); err != nil {
		return "", err
	}
	text, err := json.Marshal(layer{"qcow2", file{"file", overlay}, &layer{"raw", file{"file", backing}, nil}})
	return "json:" + string(text), err
}
