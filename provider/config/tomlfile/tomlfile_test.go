package tomlfile_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config/tomlfile"
)

const text = `# one
concurrent = 4
[[runners]]
name = "a"
  [runners.autoscaler]
  plugin = "p"
    [[runners.autoscaler.policy]]
    idle_count = 1
    [[runners.autoscaler.policy]]
    idle_count = 2
  [runners.autoscaler.plugin_config]
  machine.cpus = 2
  machine.memory = "1GiB"
  image = { run = [
    "one",
    # not this
    """two
lines""",
    ["three"],
  ], "odd key" = true }
[[runners]]
name = "b"
[runners.autoscaler.policy]
[other.table]
x = [1, 2]
`

func TestEveryKeyHasItsLine(t *testing.T) {
	file, err := tomlfile.Parse([]byte(text))
	require.NoError(t, err)
	require.Equal(t, int64(4), file.Values["concurrent"])
	const config = "runners[0].autoscaler.plugin_config"
	for path, want := range map[string]tomlfile.Span{
		"concurrent":                                 {2, 2},
		"runners":                                    {3, 3},
		"runners[0]":                                 {3, 3},
		"runners[0].name":                            {4, 4},
		"runners[0].autoscaler":                      {5, 5},
		"runners[0].autoscaler.plugin":               {6, 6},
		"runners[0].autoscaler.policy[0]":            {7, 7},
		"runners[0].autoscaler.policy[1]":            {9, 9},
		config:                                       {11, 11},
		config + ".machine":                          {12, 12},
		config + ".machine.memory":                   {13, 13},
		config + ".image.run":                        {14, 20},
		config + ".image.run[0]":                     {15, 15},
		config + ".image.run[1]":                     {17, 17},
		config + ".image.run[2][0]":                  {19, 19},
		config + `.image."odd key"`:                  {20, 20},
		"runners[1].name":                            {22, 22},
		"runners[1].autoscaler.policy":               {23, 23},
		"other":                                      {24, 24},
		"other.table":                                {24, 24},
		"other.table.x[1]":                           {25, 25},
		"runners[0].autoscaler.policy[1].idle_count": {10, 10},
	} {
		got, ok := file.Span(path)
		require.True(t, ok, path)
		require.Equal(t, want, got, path)
		require.Equal(t, want.First, file.Line(path), path)
	}
}

func TestWhatIsNotThereHasTheLineOfWhatItWouldBeIn(t *testing.T) {
	file, err := tomlfile.Parse([]byte(text))
	require.NoError(t, err)
	require.Equal(t, 5, file.Line("runners[0].autoscaler.connector_config.username"))
	require.Equal(t, 14, file.Line("runners[0].autoscaler.plugin_config.image.run[7]"))
	require.Equal(t, 21, file.Line("runners[1].autoscaler_"))
	require.Equal(t, 1, file.Line("nothing"))
	require.Equal(t, 1, file.Line(""))
	_, ok := file.Span("nothing")
	require.False(t, ok)
}

func TestWhatIsNoTOMLIsRefused(t *testing.T) {
	_, err := tomlfile.Parse([]byte("a = = 1\n"))
	require.ErrorContains(t, err, "toml: ")
}

func TestWholeTablesEndWithWhatIsInThem(t *testing.T) {
	file, err := tomlfile.Parse([]byte(text))
	require.NoError(t, err)
	require.Equal(t, tomlfile.Span{First: 3, Last: 20}, file.Whole("runners[0]"))
	require.Equal(t, tomlfile.Span{First: 21, Last: 23}, file.Whole("runners[1]"))
	require.Equal(t, tomlfile.Span{First: 9, Last: 10}, file.Whole("runners[0].autoscaler.policy[1]"))
}

// What is too deep to be noted has the line of what it is in, and costs nothing more.
func TestDeepPathsHaveTheLineOfWhatTheyAreIn(t *testing.T) {
	long := strings.Repeat("b", 100_000)
	for text, path := range map[string]string{
		"a = 1\n" + strings.Repeat("b.", 100_000) + "c = 1\n":                 "b" + strings.Repeat(".b", 150),
		"a = 1\n[" + strings.Repeat("b.", 100_000) + "c]\nd = 1\n":            "b" + strings.Repeat(".b", 150),
		"a = 1\nb = " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000): "b" + strings.Repeat("[0]", 150),
		"a = 1\n" + long + " = [\n" + strings.Repeat("1,\n", 100_000) + "]\n": long + "[5000]",
	} {
		file, err := tomlfile.Parse([]byte(text))
		require.NoError(t, err)
		require.Equal(t, 2, file.Line(path))
	}
}

// Whatever the library takes for TOML has a line for every key, within the file.
func FuzzParse(f *testing.F) {
	f.Add([]byte(text))
	f.Add([]byte("a.b.c = { d = [[{e = 1}], []] }"))
	f.Add([]byte("[[a]]\n[[a.b]]\n[a.b.c]\n\"\\n\" = \"\"\"\n\n\"\"\""))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := tomlfile.Parse(data)
		if err != nil {
			return
		}
		for key := range file.Values {
			span, ok := file.Span(tomlfile.Join("", key))
			require.True(t, ok || len(key) > 200, "%q", key)
			require.LessOrEqual(t, span.First, span.Last)
		}
	})
}
