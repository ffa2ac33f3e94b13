//go:build linux

package disk

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// packers are what images are compressed with.
var packers = map[string]func(io.Writer) (io.WriteCloser, error){
	"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
	"xz":   func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
	"zstd": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
}

func pack(t *testing.T, with string, content []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	w, err := packers[with](&packed)
	require.NoError(t, err)
	_, err = w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return packed.Bytes()
}

func TestCompressedImages(t *testing.T) {
	need.Programs(t, "qemu-img")
	dir := t.TempDir()
	raw := write(t, filepath.Join(dir, "raw"), "cloud")
	qcow2 := filepath.Join(dir, "qcow2")
	_, err := run(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2)
	require.NoError(t, err)
	for with := range packers {
		for _, image := range []string{raw, qcow2} {
			t.Run(with+" "+filepath.Base(image), func(t *testing.T) {
				content, err := os.ReadFile(image)
				require.NoError(t, err)
				packed := pack(t, with, content)
				dir := t.TempDir()
				src, dst := filepath.Join(dir, "packed"), filepath.Join(dir, "disk")
				require.NoError(t, os.WriteFile(src, packed, 0o600))
				require.NoError(t, ToRaw(t.Context(), src, dst, 64<<20))
				require.Equal(t, "cloud", first(t, dst, 5))
				size, used := usage(t, dst)
				require.EqualValues(t, 64<<20, size)
				require.LessOrEqual(t, used, int64(1<<20), "zeros are no holes")
				require.NoFileExists(t, dst+unpackedSuffix)

				for fault, c := range map[string]struct {
					content []byte
					want    string
				}{
					"cut short": {packed[:len(packed)-1], "fetch it again"},
					"twice":     {pack(t, with, packed), "compressed twice"},
				} {
					require.NoError(t, os.WriteFile(src, c.content, 0o600), fault)
					require.ErrorContains(t, ToRaw(t.Context(), src, dst+"2", 64<<20), c.want, fault)
					require.NoFileExists(t, dst+"2")
					require.NoFileExists(t, dst+"2"+unpackedSuffix)
				}
			})
		}
	}
}

// A block of xz says how much memory it wants, up to 4 GiB.
func TestCompressedImagesMayNotAskForAllMemory(t *testing.T) {
	var packed bytes.Buffer
	w, err := xz.WriterConfig{DictCap: 2 * maxWindow}.NewWriter(&packed)
	require.NoError(t, err)
	_, err = w.Write([]byte("cloud"))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	src := filepath.Join(t.TempDir(), "packed")
	require.NoError(t, os.WriteFile(src, packed.Bytes(), 0o600))
	require.ErrorContains(t, ToRaw(t.Context(), src, src+".raw", 1<<20), "Memory usage limit")
	require.NoFileExists(t, src+".raw"+unpackedSuffix)
}

// A file of some kilobytes may stand for any number of bytes.
func TestCompressedImagesHaveALargestSize(t *testing.T) {
	content := make([]byte, Largest(1<<20)+1)
	for with := range packers {
		src := filepath.Join(t.TempDir(), "packed")
		require.NoError(t, os.WriteFile(src, pack(t, with, content), 0o600))
		require.ErrorContains(t, ToRaw(t.Context(), src, src+".raw", 1<<20), "raise machine.disk", with)
		require.NoFileExists(t, src+".raw"+unpackedSuffix)
	}
}
