package initrd

import (
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// readModule reads a module and unpacks it as its name says.
func readModule(root fs.FS, name string) ([]byte, error) {
	file, err := root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading module: %w", err)
	}
	defer file.Close()
	plain, err := decompress(path.Ext(name), file)
	if err != nil {
		return nil, fmt.Errorf("unpacking module %s: %w", name, err)
	}
	content, err := io.ReadAll(plain)
	if err != nil {
		return nil, fmt.Errorf("unpacking module %s: %w", name, err)
	}
	return content, nil
}

func decompress(extension string, from io.Reader) (io.Reader, error) {
	switch extension {
	case ".ko":
		return from, nil
	case ".gz":
		return gzip.NewReader(from)
	case ".xz":
		return xz.NewReader(from)
	case ".zst":
		// With a concurrency of one it decodes in ReadAll, and need not be closed.
		return zstd.NewReader(from, zstd.WithDecoderConcurrency(1))
	}
	return nil, fmt.Errorf("unknown compression %q", extension)
}
