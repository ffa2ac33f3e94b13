// Package page shows people what is known of a host's workers: all pools on one page, and
// one worker on another. A page is made of data by pure functions (overview.go,
// worker.go, chart.go), and of templates. It needs no JavaScript, and nothing from
// elsewhere; a small script renews it where there is one. What guests and errors say is
// escaped by html/template.
package page

import (
	"bytes"
	"context"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"time"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/ledger"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe"
)

//go:embed assets templates
var files embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"took": took, "ago": ago, "bytes": size, "clock": clock, "short": short,
}).ParseFS(files, "templates/*.html"))

// Source is what the page shows; observe.Watch is one.
type Source interface {
	Look(context.Context) (observe.View, error)
	// Worker is false for one that nobody knows.
	Worker(ctx context.Context, id string) (observe.Worker, []ledger.Event, bool, error)
	Console(observe.Worker) ([]string, error)
}

var _ Source = (*observe.Watch)(nil)

// Handler answers with the pages and what belongs to them.
func Handler(source Source) http.Handler {
	mux := http.NewServeMux()
	assets, err := fs.Sub(files, "assets")
	if err != nil {
		panic(err) // the folder is embedded
	}
	mux.Handle("GET /assets/", http.StripPrefix("/assets/", http.FileServerFS(assets)))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		view, err := source.Look(r.Context())
		if err != nil {
			fail(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		render(w, "overview.html", overviewOf(view, source.Console))
	})
	mux.HandleFunc("GET /workers/{id}", func(w http.ResponseWriter, r *http.Request) {
		worker, events, known, err := source.Worker(r.Context(), r.PathValue("id"))
		if err != nil {
			fail(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		if !known {
			fail(w, http.StatusNotFound, "No ledger knows this worker. What happened to a worker is kept for some days.")
			return
		}
		console, err := source.Console(worker)
		render(w, "worker.html", workerOf(worker, events, console, err, time.Now()))
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusNotFound, "There is no such page.")
	})
	return mux
}

func fail(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = templates.ExecuteTemplate(w, "message.html", message{Title: http.StatusText(status), Text: text})
}

// message is a page that says one thing.
type message struct{ Title, Text string }

// render writes a whole page, or none.
func render(w http.ResponseWriter, name string, data any) {
	var page bytes.Buffer
	if err := templates.ExecuteTemplate(&page, name, data); err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page.Bytes()) // an error is the client's, who is gone
}
