package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/doctor"
)

func TestOnlyYesIsAYes(t *testing.T) {
	answers := map[string]bool{
		"y\n": true, "Yes\n": true, "\n": false, "": false, "n\n": false, "yy\n": false,
	}
	for answer, want := range answers {
		var asked bytes.Buffer
		require.Equal(t, want, confirm(strings.NewReader(answer), &asked, "run 2 commands?"), "%q", answer)
		require.Equal(t, "run 2 commands? [y/N] ", asked.String())
	}
}

func TestADiagnosisHasAHeadingForEachGroup(t *testing.T) {
	var out bytes.Buffer
	printDiagnosis(&out, "qemu", []doctor.Finding{
		{Level: doctor.OK, What: "a", Detail: "there", Group: "backend"},
		{
			Level: doctor.Missing, What: "b", Detail: "not there", Mend: "load it", Command: "modprobe b",
			Group: "backend",
		},
		{Level: doctor.OK, What: "c", Detail: "there", Group: "network"},
	})
	require.Equal(t, "backend qemu\n\nbackend\nok       a: there\nmissing  b: not there\n         mend: load it\n"+
		"         run:  modprobe b\n\nnetwork\nok       c: there\n", out.String())
}
