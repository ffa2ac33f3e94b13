package prebuild

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// putFiles writes the recipe's files.
func putFiles(ctx context.Context, g Guest, files []image.File, progress image.Progress) error {
	for _, file := range files {
		progress("files", file.Path)
		what := fmt.Sprintf("writing image.files.%q", file.Path)
		err := within(ctx, choreLimit, what, func(ctx context.Context) error { return put(ctx, g, file) })
		if err != nil {
			return err
		}
	}
	return nil
}

func put(ctx context.Context, g Guest, file image.File) error {
	to := guest.File{Path: file.Path, Mode: file.Mode, Owner: file.Owner}
	if file.From == "" {
		return g.Put(ctx, to, strings.NewReader(file.Content))
	}
	from, err := os.Open(file.From)
	if err != nil {
		return err
	}
	defer from.Close()
	sum := sha256.New()
	if err := g.Put(ctx, to, io.TeeReader(from, sum)); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != file.SHA256 {
		return fmt.Errorf("%s has changed since the build began: start it again", file.From)
	}
	return nil
}

// setEnvironment sets the variables of the recipe's steps, and then the secrets. The
// user's own come after the proxy's, and so before them in effect.
func setEnvironment(ctx context.Context, g Guest, recipe image.Recipe, secrets map[string]string) error {
	return within(ctx, choreLimit, "setting the environment of the steps", func(ctx context.Context) error {
		for _, all := range []map[string]string{recipe.ProxyEnvironment(), recipe.Env, secrets} {
			for _, name := range slices.Sorted(maps.Keys(all)) {
				if err := g.Setenv(ctx, name, all[name]); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
		}
		return nil
	})
}

// leastSecret is how many bytes a secret has at least: what is shorter might be any word
// of a step's output, and hiding it would make that unreadable.
const leastSecret = 8

// CheckSecrets finds all secrets that cannot be read, before a build takes its time.
func CheckSecrets(recipe image.Recipe) error {
	_, err := readSecrets(recipe.Secrets)
	return err
}

// readSecrets reads the values of the recipe's secrets, by their names.
func readSecrets(secrets []image.Secret) (map[string]string, error) {
	values := make(map[string]string, len(secrets))
	var wrong []error
	for _, secret := range secrets {
		value, err := readSecret(secret)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("image.secrets.%s: %w", secret.Name, err))
		}
		values[secret.Name] = value
	}
	return values, errors.Join(wrong...)
}

func readSecret(secret image.Secret) (string, error) {
	value, from := "", secret.File
	if secret.Variable != "" {
		var found bool
		from = "the variable " + secret.Variable
		if value, found = os.LookupEnv(secret.Variable); !found {
			return "", fmt.Errorf("this process has no variable %s: set it where the runner is started",
				secret.Variable)
		}
	} else {
		text, err := readBounded(secret.File, guest.MaxValue)
		if err != nil {
			return "", err
		}
		value = strings.TrimRight(string(text), "\r\n") // as editors and echo leave them
	}
	switch {
	case len(value) < leastSecret:
		return "", fmt.Errorf("%s has fewer than %d bytes, which could not be hidden in the output of steps",
			from, leastSecret)
	case len(value) > guest.MaxValue:
		return "", fmt.Errorf("%s has more than %d bytes", from, guest.MaxValue)
	case !utf8.ValidString(value):
		return "", fmt.Errorf("%s is not text in UTF-8", from)
	case strings.ContainsRune(value, 0):
		return "", fmt.Errorf("%s has a NUL in it, which no variable can have", from)
	}
	return value, nil
}

// readBounded reads a regular file, and at most a little more than limit.
func readBounded(path string, limit int64) (text []byte, err error) {
	info, err := os.Stat(path) // opening a pipe would wait
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return io.ReadAll(io.LimitReader(file, limit+3))
}
