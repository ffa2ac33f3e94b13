package endpoint

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/testrun"
)

// patience is how long a browser may take that shares its machine with other tests.
const patience = 3 * time.Minute

// browser is a browser's window.
type browser struct {
	*testing.T
	ctx context.Context
}

// newBrowser starts a browser that shows the token.
func newBrowser(t *testing.T) browser {
	need.Programs(t, "chromium-headless-shell")
	path, err := programs.Find("chromium-headless-shell")
	require.NoError(t, err)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.WindowSize(1320, 1000), chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(patience))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	ctx, end := chromedp.NewExecAllocator(ctx, options...)
	ctx, leave := chromedp.NewContext(ctx)
	t.Cleanup(func() { leave(); end(); cancel() })
	show := network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Authorization": "Bearer " + token}}
	b := browser{t, ctx}
	b.do(command(network.Enable, network.EnableParams{}), command(network.SetExtraHTTPHeaders, show))
	return b
}

func command[P, R any](c cdp.Command[P, R], with P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, c, with)
		return err
	})
}

func (b browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	require.NoError(b, chromedp.Do(b.ctx, steps...))
}

// text is what a person reads in an element, in one line.
func (b browser) text(selector string) string {
	b.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.Text(selector))
	require.NoError(b, err)
	return strings.Join(strings.Fields(text), " ")
}

func evaluate[T any](b browser, script string) T {
	b.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script))
	require.NoError(b, err)
	return value
}

// shoot keeps pictures of the whole page, in the light and in the dark.
func (b browser) shoot(name string) {
	b.Helper()
	dir := os.Getenv(testrun.Screenshots)
	if dir == "" {
		return
	}
	require.NoError(b, os.MkdirAll(dir, 0o755))
	for _, scheme := range []string{"dark", "light"} {
		prefers := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
		b.do(command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: prefers}))
		picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
		require.NoError(b, err)
		require.NoError(b, os.WriteFile(filepath.Join(dir, name+"-"+scheme+".png"), picture, 0o644))
	}
}

func TestAPersonFindsAWorkerOnThePage(t *testing.T) {
	w := newWorld(t)
	id := w.twenty()
	url := w.serve()
	b := newBrowser(t)

	b.do(chromedp.Navigate(url), chromedp.WaitVisible("main"))
	b.shoot("overview")
	assert.Contains(t, evaluate[string](b, `document.title`), "Mayfly on ")
	assert.Equal(t, 20, evaluate[int](b, `document.querySelectorAll(".timeline tbody tr:not(.deleted)").length`))
	states := b.text("main > header .states")
	for _, state := range []string{"1 spare", "1 canary", "7 creating", "6 running", "1 suspending", "1 suspended",
		"1 resuming", "2 deleting"} {
		assert.Contains(t, states, state)
	}
	assert.Contains(t, b.text("#"+id+" .doing"), hostile, "as text")
	assert.Contains(t, b.text("#docker-"+key("e", 6)+" .doing"), "until SSH answers")
	assert.Contains(t, b.text("#docker-"+key("e", 6)+" .doing"), "SSH does not answer: connection refused")
	failures := evaluate[string](b, `document.querySelector("#pool-docker .failures").textContent`)
	assert.Contains(t, failures, "not ready within the start timeout")
	assert.Contains(t, failures, "Kernel panic - not syncing")

	b.do(chromedp.Click("#"+id+" a"), chromedp.WaitVisible(".worker"))
	b.shoot("worker")
	assert.Equal(t, id, b.text(".worker h2"))
	assert.Equal(t, "0.60 s", b.text("#ready"))
	assert.Contains(t, b.text(".waterfall"), "waits for room on the host")
	assert.Contains(t, b.text(".waterfall"), "restore")
	assert.Contains(t, b.text(".jobs"), hostile, "as text")
	assert.Zero(t, evaluate[int](b, `document.querySelectorAll("main img, q b, .reason b").length`))
	assert.Equal(t, id, evaluate[string](b, `document.title`))

	b.do(chromedp.Navigate(url+"/workers/docker-"+key("x", 1)), chromedp.WaitVisible(".worker"))
	b.shoot("failed")
	assert.Contains(t, b.text(".worker"), "It ended unasked: the machine ended: signal: killed")
}

// TestThePageRenewsItself when something happens, and keeps open what a person has opened.
func TestThePageRenewsItself(t *testing.T) {
	w := newWorld(t)
	w.twenty()
	url := w.serve()
	b := newBrowser(t)
	b.do(chromedp.Navigate(url), chromedp.WaitVisible(".failures"),
		chromedp.Click(".failures summary"), chromedp.WaitVisible(".failures pre"))
	w.pool("late").worker("aaaaaaaa", time.Second).promised().starts(1)
	b.do(chromedp.WaitVisible("#late-aaaaaaaa"), chromedp.WaitVisible(".failures pre"))
}
