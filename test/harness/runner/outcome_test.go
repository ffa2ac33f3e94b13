package runner

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const document = `{"backend":"b","acceleration":"a","image":{"digest":"d","built_seconds":1.5},
	"jobs":[{"worker":"w","how":"clone","ready_seconds":2,"exit_code":0,"stdout":"o","stderr":""}],"left_over":[]}`

func TestParseOutcome(t *testing.T) {
	outcome, err := ParseOutcome([]byte(document))
	require.NoError(t, err)
	require.Equal(t, "w", outcome.Jobs[0].Worker)
}

func TestParseOutcomeRefusesOtherShapes(t *testing.T) {
	for name, change := range map[string][2]string{
		"a name too few":          {`"how":"clone",`, ``},
		"a name too many":         {`"how":"clone",`, `"how":"clone","why":"",`},
		"another name":            {`"left_over"`, `"leftover"`},
		"null in place of a list": {`[]`, `null`},
		"a text for a number":     {`1.5`, `"1.5"`},
		"more than one document":  {`"left_over":[]}`, `"left_over":[]} {}`},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(document, change[0], change[1], 1)
			require.NotEqual(t, document, changed)
			_, err := ParseOutcome([]byte(changed))
			require.Error(t, err)
		})
	}
}
