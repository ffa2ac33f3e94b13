package report

import (
	"fmt"
	"strings"
)

// Place puts content between the two comments of the name in a page, and
// leaves the rest of the page as it is:
//
//	<!-- bench:NAME -->
//	content
//	<!-- bench:NAME end -->
//
// Doing so again changes nothing. A page without the comments, or with more
// than one of either, is an error: somebody has to say where the content goes.
func Place(page, name, content string) (string, error) {
	begin, end := fmt.Sprintf("<!-- bench:%s -->\n", name), fmt.Sprintf("<!-- bench:%s end -->", name)
	if strings.Count(page, begin) != 1 || strings.Count(page, end) != 1 {
		return "", fmt.Errorf("the page needs the lines %q and %q, each once", strings.TrimSpace(begin), end)
	}
	before, rest, _ := strings.Cut(page, begin)
	_, after, found := strings.Cut(rest, end)
	if !found {
		return "", fmt.Errorf("the line %q must come before %q", strings.TrimSpace(begin), end)
	}
	return before + begin + strings.TrimSpace(content) + "\n" + end + after, nil
}
