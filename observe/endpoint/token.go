package endpoint

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
)

// Bounds of a token, in bytes.
const (
	shortestToken = 16
	longestToken  = 512
)

// readToken reads the file that metrics.token_file names. The error says how to mend it.
func readToken(path string) (token string, err error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("reading metrics.token_file %s: %w", path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fail(err)
	}
	if !info.Mode().IsRegular() {
		return fail(errors.New("it is no regular file"))
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fail(fmt.Errorf("others may use it (%s): chmod 600 it", info.Mode().Perm()))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fail(err)
	}
	token = strings.TrimRight(string(text), "\r\n")
	if len(token) < shortestToken || len(token) > longestToken || strings.ContainsAny(token, "\r\n") {
		return fail(fmt.Errorf("it must be one line of %d to %d characters: "+
			"make one with `head -c 24 /dev/urandom | base64`", shortestToken, longestToken))
	}
	return token, nil
}

// withToken lets through who shows the token: as a bearer token, or, as a browser does,
// as the password of any user. How long the comparison takes tells nothing of the token.
func withToken(token string, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !isBearer {
			_, shown, _ = r.BasicAuth()
		}
		if got := sha256.Sum256([]byte(shown)); subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="mayfly", charset="UTF-8"`)
		http.Error(w, "the token of metrics.token_file is missing or wrong", http.StatusUnauthorized)
	})
}
