package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/licenses"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// manual is a page of the manual, made from one of the reference.
type manual struct {
	page    string
	section int
	what    string
}

var manuals = []manual{
	{"docs/reference/command-line.md", 1, "disposable machines for GitLab Runner"},
	{"docs/reference/configuration.md", 5, "settings of disposable machines for GitLab Runner"},
}

// document writes what packages install beside the program.
func (r release) document(dir string) error {
	texts := map[string]string{"config.toml": config.Example(config.ForInstance), "licenses.txt": licenses.Text()}
	for _, m := range manuals {
		page, err := os.ReadFile(m.page)
		if err != nil {
			return err
		}
		packed, err := compress(r.render(m, string(page)))
		if err != nil {
			return err
		}
		texts[fmt.Sprintf("%s.%d.gz", program, m.section)] = string(packed)
	}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// render makes a page of the manual. A page of the reference begins with its title,
// which a page of the manual has in another form.
func (r release) render(m manual, page string) []byte {
	title, text, _ := strings.Cut(page, "\n")
	head := fmt.Sprintf("%% %q %d %q %q %q\n\n# NAME\n\n%s - %s\n\n# %s\n", strings.ToUpper(program), m.section,
		r.made.Format("2006-01-02"), "Mayfly "+r.version, "Mayfly", program, m.what,
		strings.ToUpper(strings.TrimPrefix(title, "# ")))
	return md2man.Render([]byte(head + text))
}

// compress packs a page as the manual has them, without a time.
func compress(text []byte) ([]byte, error) {
	var packed bytes.Buffer
	writer, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := writer.Write(text); err != nil {
		return nil, err
	}
	err = writer.Close()
	return packed.Bytes(), err
}
