package main

import (
	"bytes"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
	provenancev1 "github.com/in-toto/attestation/go/predicates/provenance/v1"
	attestation "github.com/in-toto/attestation/go/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/test/harness/need"
)

// TestReleaseIsVerifiedAsThePageSays runs what docs/guides/release.md has users run, on the
// release as it is, and with one byte changed in the program and in the list.
func TestReleaseIsVerifiedAsThePageSays(t *testing.T) {
	need.Programs(t, "openssl", "sha256sum")
	r := makeIn(t, first(), "1.2.3")
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(r.dir)))
	key, err := os.ReadFile(r.key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mayfly.pub"), key, 0o644))
	verify := func() error {
		check := exec.Command("sh", "-ec", `base64 -d SHA256SUMS.sig >signature
			openssl dgst -sha256 -verify mayfly.pub -signature signature SHA256SUMS
			sha256sum --quiet --check SHA256SUMS`)
		check.Dir = dir
		return check.Run()
	}
	require.NoError(t, verify())
	for _, name := range []string{here.binary(), provenanceFile, sumsFile, signatureFile} {
		undo := changeOneByte(t, filepath.Join(dir, name))
		require.Error(t, verify(), "%s was changed", name)
		undo()
	}
	require.NoError(t, verify())
}

// changeOneByte changes a byte in the middle of a file, in one that is base64 to another
// digit.
func changeOneByte(t *testing.T, path string) (undo func()) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	changed := bytes.Clone(text)
	at := &changed[len(changed)/2]
	if *at == 'A' {
		*at = 'B'
	} else {
		*at = 'A'
	}
	require.NoError(t, os.WriteFile(path, changed, 0o755))
	return func() { require.NoError(t, os.WriteFile(path, text, 0o755)) }
}

func TestSignatureIsInCosignsForm(t *testing.T) {
	r := makeIn(t, first(), "1.2.3")
	text, err := os.ReadFile(filepath.Join(r.dir, signatureFile))
	require.NoError(t, err)
	_, err = base64.StdEncoding.DecodeString(string(bytes.TrimSpace(text)))
	require.NoError(t, err)
}

func TestBillHasTheModulesOfTheProgram(t *testing.T) {
	r := makeIn(t, first(), "1.2.3")
	binary := filepath.Join(r.dir, here.binary())
	file, err := os.Open(binary + ".cdx.json")
	require.NoError(t, err)
	defer file.Close()
	var bill cyclonedx.BOM
	require.NoError(t, cyclonedx.NewBOMDecoder(file, cyclonedx.BOMFileFormatJSON).Decode(&bill))
	sum, err := sha256Of(binary)
	require.NoError(t, err)
	require.Equal(t, sum, (*bill.Metadata.Component.Hashes)[0].Value)
	require.Equal(t, "1.2.3", bill.Metadata.Component.Version)

	listed := map[string]string{}
	for _, component := range *bill.Components {
		listed[component.Name] = component.Version
	}
	out, err := exec.Command("go", "version", "-m", binary).Output()
	require.NoError(t, err)
	modules := 0
	for line := range bytes.Lines(out) {
		if fields := bytes.Fields(line); len(fields) > 2 && string(fields[0]) == "dep" {
			modules++
			require.Equal(t, string(fields[2]), listed[string(fields[1])], "%s", fields[1])
		}
	}
	require.Equal(t, modules+1, len(listed), "all modules, and the standard library")
	require.Len(t, *(*bill.Dependencies)[0].Dependencies, len(listed))
}

func TestProvenanceIsOfTheFiles(t *testing.T) {
	r := makeIn(t, first(), "1.2.3")
	text, err := os.ReadFile(filepath.Join(r.dir, provenanceFile))
	require.NoError(t, err)
	var statement attestation.Statement
	require.NoError(t, protojson.Unmarshal(text, &statement))
	require.NoError(t, statement.Validate())
	subjects := map[string]string{}
	for _, subject := range statement.GetSubject() {
		subjects[subject.GetName()] = subject.GetDigest()["sha256"]
	}
	names, err := release{dir: r.dir}.files()
	require.NoError(t, err)
	for _, name := range names {
		if name == provenanceFile || name == sumsFile || name == signatureFile {
			require.NotContains(t, subjects, name)
			continue
		}
		sum, err := sha256Of(filepath.Join(r.dir, name))
		require.NoError(t, err)
		require.Equal(t, sum, subjects[name], name)
	}
	predicate, err := protojson.Marshal(statement.GetPredicate())
	require.NoError(t, err)
	var says provenancev1.Provenance
	require.NoError(t, protojson.Unmarshal(predicate, &says))
	require.NoError(t, says.Validate())
	require.Equal(t, "1.2.3", says.GetBuildDefinition().GetExternalParameters().AsMap()["version"])
}
