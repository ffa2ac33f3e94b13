package main

import (
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestManualIsMadeOfTheReference(t *testing.T) {
	r := release{version: "1.2.3", made: time.Unix(1796031062, 0).UTC()}
	const page = "# Command line\n\nWhat it is.\n\n## try\n\n| code | means |\n|---|---|\n| 0 | success |\n"
	text := string(r.render(manual{section: 1, what: "machines"}, page))
	require.Regexp(t, `^'\\" t\n`, text, "tables want tbl")
	require.Regexp(t, regexp.QuoteMeta(`.TH "FLEETING-PLUGIN-MAYFLY" 1 "2026-11-30" "Mayfly 1.2.3" "Mayfly"`), text)
	require.Regexp(t, `(?s)\.SH NAME\n.*fleeting-plugin-mayfly \\- machines\n.*\.SH COMMAND LINE\n.*What it is\..*\.SH try\n.*\.TS\n`, text)
}
