package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"

	provenance "github.com/in-toto/attestation/go/predicates/provenance/v1"
	attestation "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	provenanceFile = program + ".intoto.json"
	predicateType  = "https://slsa.dev/provenance/v1"
	repository     = "https://gitlab.com/mayfly-ci/fleeting-plugin-mayfly"
	// buildType says what the parameters mean: those of `make release`, as the page has it.
	buildType = repository + "/-/blob/main/docs/guides/release.md"
)

// attest writes the provenance of all files so far: an in-toto statement with a
// predicate of SLSA. Who vouches for it is who signs the checksums, in which it is.
func (r release) attest(ctx context.Context) error {
	var subjects []*attestation.ResourceDescriptor
	names, err := r.files()
	if err != nil {
		return err
	}
	for _, name := range names {
		sum, err := sha256Of(r.path(name))
		if err != nil {
			return err
		}
		subjects = append(subjects, &attestation.ResourceDescriptor{Name: name, Digest: map[string]string{"sha256": sum}})
	}
	compiler, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	if err != nil {
		return fmt.Errorf("asking for the version of Go: %w", err)
	}
	text, err := statement(subjects, r.provenance(strings.TrimSpace(string(compiler))))
	if err != nil {
		return fmt.Errorf("writing the provenance: %w", err)
	}
	return os.WriteFile(r.path(provenanceFile), text, 0o644)
}

// provenance says what was built from what, by a compiler of this version.
func (r release) provenance(compiler string) *provenance.Provenance {
	source := &attestation.ResourceDescriptor{Uri: "git+" + repository}
	if r.commit != "" {
		source.Digest = map[string]string{"gitCommit": r.commit}
	}
	var platforms []*structpb.Value
	for _, p := range r.platforms {
		platforms = append(platforms, structpb.NewStringValue(p.String()))
	}
	return &provenance.Provenance{
		BuildDefinition: &provenance.BuildDefinition{
			BuildType: buildType,
			ExternalParameters: &structpb.Struct{Fields: map[string]*structpb.Value{
				"version":           structpb.NewStringValue(r.version),
				"platforms":         structpb.NewListValue(&structpb.ListValue{Values: platforms}),
				"SOURCE_DATE_EPOCH": structpb.NewNumberValue(float64(r.made.Unix())),
			}},
			ResolvedDependencies: []*attestation.ResourceDescriptor{
				source, {Uri: "pkg:golang/std@" + strings.TrimPrefix(compiler, "go")},
			},
		},
		RunDetails: &provenance.RunDetails{Builder: &provenance.Builder{Id: buildType}},
	}
}

// statement is the JSON of an in-toto statement, always with the same blanks, on which
// the library does not insist.
func statement(subjects []*attestation.ResourceDescriptor, predicate *provenance.Provenance) ([]byte, error) {
	if err := predicate.Validate(); err != nil {
		return nil, err
	}
	plain, err := toStruct(predicate)
	if err != nil {
		return nil, err
	}
	made := &attestation.Statement{
		Type: attestation.StatementTypeUri, Subject: subjects, PredicateType: predicateType, Predicate: plain,
	}
	if err := made.Validate(); err != nil {
		return nil, err
	}
	text, err := protojson.Marshal(made)
	if err != nil {
		return nil, err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, text, "", "  "); err != nil {
		return nil, err
	}
	indented.WriteByte('\n')
	return indented.Bytes(), nil
}

// toStruct turns a message into the form that a statement holds predicates in.
func toStruct(message proto.Message) (*structpb.Struct, error) {
	text, err := protojson.Marshal(message)
	if err != nil {
		return nil, err
	}
	plain := new(structpb.Struct)
	return plain, protojson.Unmarshal(text, plain)
}
