package endpoint

import (
	"encoding/json"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/observe/page"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/templates"
)

// mostScrapes is how many scrapes are answered at once.
const mostScrapes = 4

// handler answers everything that the endpoint is asked. An empty token asks for none;
// whether it is healthy is told to everyone.
func handler(watch *observe.Watch, metrics prometheus.Gatherer, token string) http.Handler {
	private := http.NewServeMux()
	private.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		MaxRequestsInFlight: mostScrapes, EnableOpenMetrics: true,
	}))
	private.HandleFunc("GET /problems", func(w http.ResponseWriter, r *http.Request) {
		view, err := watch.Look(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(view.Problems) // an error is the client's, who is gone
	})
	private.HandleFunc("GET /alerts.yml", file("application/yaml", templates.Alerts))
	private.HandleFunc("GET /dashboard.json", file("application/json", templates.Dashboard))
	private.Handle("GET /", page.Handler(watch))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if _, err := watch.Look(r.Context()); err != nil { // which may name paths
			http.Error(w, "the pools cannot be looked at", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	if token == "" {
		mux.Handle("/", private)
	} else {
		mux.Handle("/", withToken(token, private))
	}
	return guarded(mux)
}

func file(kind string, content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(content) // an error is the client's, who is gone
	}
}

// guarded has a browser load nothing from elsewhere, keep nothing, and run nothing that
// is not the page's own file.
func guarded(next http.Handler) http.Handler {
	headers := map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; " +
			"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Referrer-Policy":              "no-referrer",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Cache-Control":                "no-store",
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range headers {
			w.Header().Set(name, value)
		}
		next.ServeHTTP(w, r)
	})
}
