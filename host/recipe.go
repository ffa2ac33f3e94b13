package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/programs"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/provider/config"
)

// runnerBinary is what jobs call for artifacts and caches.
const runnerBinary = "gitlab-runner"

// recipeOf is the image that a configuration asks for, for jobs that log in as
// user, with the binaries of this host that go into it: this program itself,
// as the guest agent, and gitlab-runner if there is one. Another version of
// either makes another image. A user that no guest would take is refused here,
// before anything is built for it.
func recipeOf(c config.Config, user string) (image.Recipe, error) {
	recipe := c.Recipe(user)
	if !guest.ValidUser(recipe.User) {
		return image.Recipe{}, fmt.Errorf("connector_config.username: %q is not a valid name of an account: "+
			"write a-z or _, then up to 31 of a-z, 0-9, _, . and -", recipe.User)
	}
	certificates, err := readCertificates(recipe.CertificateFiles)
	if err = errors.Join(err, readFiles(recipe.Files)); err != nil {
		return image.Recipe{}, err
	}
	recipe.Certificates = certificates
	agent, err := ownProgram()
	if err != nil {
		return image.Recipe{}, err
	}
	recipe.Agent = agent
	if recipe.AgentSHA256, err = sum(agent); err != nil {
		return image.Recipe{}, fmt.Errorf("reading our own program, the guest agent: %w", err)
	}
	runner, err := programs.Find(runnerBinary)
	if err != nil || !filepath.IsAbs(runner) { // nothing from the current directory, which a PATH may name
		return recipe, nil
	}
	recipe.GitLabRunner = runner
	if recipe.GitLabRunnerSHA256, err = sum(runner); err != nil {
		return image.Recipe{}, fmt.Errorf("reading %s: %w", runnerBinary, err)
	}
	return recipe, nil
}

// recipeHere is recipeOf, with what a name means on this host.
func (h *Host) recipeHere(c config.Config, user string) (image.Recipe, error) {
	recipe, err := recipeOf(c, user)
	if err != nil || recipe.Source.Kind != image.Saved {
		return recipe, err
	}
	name := recipe.Source.Location
	saved, found, err := h.Images(c.ImagesDir()).Saved(name)
	if err == nil && !found {
		err = fmt.Errorf("no image has that name here: `image shell --save %s` makes one", name)
	}
	if err != nil {
		return image.Recipe{}, fmt.Errorf("image.source %q: %w", recipe.Source.Public(), err)
	}
	recipe.Source = saved.Recipe.Source
	return recipe, nil
}

// readFiles notes what the files of this host hold that go into an image.
func readFiles(files []image.File) (err error) {
	for i, file := range files {
		if file.From == "" {
			continue
		}
		if files[i].SHA256, err = sum(file.From); err != nil {
			return fmt.Errorf("image.files.%q: %w", file.Path, err)
		}
	}
	return nil
}

func readCertificates(files []string) (all []string, err error) {
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("image.ca_certificates: %w", err)
		}
		found, err := image.ParseCertificates(text)
		if err != nil {
			return nil, fmt.Errorf("image.ca_certificates: %s %w", file, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// sum is the SHA-256 of a file, in hexadecimal.
func sum(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
