package initrd

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHeader(t *testing.T) {
	var out bytes.Buffer
	a := &archive{to: &out}
	require.NoError(t, a.file("init", 0o755, []byte("hello")))
	want := "070701" + "00000001" + "000081ED" + "00000000" + "00000000" + "00000001" + "00000000" +
		"00000005" + "00000000" + "00000000" + "00000000" + "00000000" + "00000005" + "00000000" +
		"init\x00" + "\x00" + "hello" + "\x00\x00\x00"
	require.Equal(t, want, out.String(), hex.Dump(out.Bytes()))
}

// unpack reads an archive as the kernel does: names to contents, in which a
// directory or a device shows as its mode and numbers.
func unpack(t *testing.T, from io.Reader) map[string]string {
	t.Helper()
	found := map[string]string{}
	for {
		header := make([]byte, 110)
		_, err := io.ReadFull(from, header)
		require.NoError(t, err)
		require.Equal(t, "070701", string(header[:6]))
		field := func(n int) int {
			value, err := strconv.ParseUint(string(header[6+8*n:14+8*n]), 16, 32)
			require.NoError(t, err)
			return int(value)
		}
		name := make([]byte, field(11)+(4-(110+field(11))%4)%4)
		_, err = io.ReadFull(from, name)
		require.NoError(t, err)
		content := make([]byte, field(6)+(4-field(6)%4)%4)
		_, err = io.ReadFull(from, content)
		require.NoError(t, err)

		key := string(name[:field(11)-1])
		switch mode := field(1); {
		case key == "TRAILER!!!":
			return found
		case mode&0o170000 == kindRegular:
			found[key] = string(content[:field(6)])
		default:
			found[key] = fmt.Sprintf("%o %d:%d", mode, field(9), field(10))
		}
	}
}
