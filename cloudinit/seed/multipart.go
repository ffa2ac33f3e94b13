package seed

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime/multipart"
	"net/textproto"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/cloudinit"
)

// boundary separates the parts. It has a character that base64 has not.
const boundary = "mayfly-8d0c2f3e5b"

// mergeType has lists of the second part added to those of the first, and all else that
// the first has kept.
const mergeType = "list(append)+dict(no_replace,recurse_list)+str()"

// combine is user-data of two parts: ours, and then somebody else's.
func combine(ours []byte, theirs string) ([]byte, error) {
	kind, err := cloudinit.KindOf(theirs)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "Content-Type: multipart/mixed; boundary=%q\nMIME-Version: 1.0\n\n", boundary)
	parts := multipart.NewWriter(&out)
	if err := parts.SetBoundary(boundary); err != nil {
		return nil, err
	}
	for _, part := range []struct{ kind, text string }{{cloudinit.Config, string(ours)}, {kind, theirs}} {
		header := textproto.MIMEHeader{}
		header.Set("Content-Type", part.kind+`; charset="utf-8"`)
		header.Set("Content-Transfer-Encoding", "base64") // nothing in between takes a letter for another
		header.Set("Merge-Type", mergeType)
		w, err := parts.CreatePart(header)
		if err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, lines(base64.StdEncoding.EncodeToString([]byte(part.text)))); err != nil {
			return nil, err
		}
	}
	err = parts.Close()
	return out.Bytes(), err
}

// lines breaks a text into lines of the length that MIME has.
func lines(text string) string {
	const length = 76
	var out strings.Builder
	for text != "" {
		n := min(length, len(text))
		out.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return out.String()
}
