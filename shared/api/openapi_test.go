package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/openapi"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

var update = flag.Bool("update", false, "rewrite the documents")

const file = "openapi.json"

func document(t *testing.T) []byte {
	t.Helper()
	comments, err := openapi.ReadComments(".")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi.Document(api.All(), comments, openapi.Examples())
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// What is served is what is declared, and a change of the contract must be seen as one.
func TestOpenAPIIsCurrent(t *testing.T) {
	isCurrent(t, file, document(t))
}

// isCurrent compares a document that is made from the declarations with the one that is kept, or renews that.
func isCurrent(t *testing.T, file string, made []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, made, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(made, kept) {
		line := 1
		for i := range min(len(made), len(kept)) {
			if made[i] != kept[i] {
				break
			}
			if made[i] == '\n' {
				line++
			}
		}
		t.Errorf("the contract differs from %s from line %d on; if that is meant: go test ./shared/api -update", file, line)
	}
}

// docs/api.md has every code of the catalogue with its status.
func TestAPIPageHasEveryCode(t *testing.T) {
	page, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range fault.Codes() {
		if row := fmt.Sprintf("| `%s` | %d | ", code, code.Status()); !strings.Contains(string(page), row) {
			t.Errorf("docs/api.md has no row that begins with %s", row)
		}
	}
}

func TestOpenAPIVersion(t *testing.T) {
	text, err := api.OpenAPI(`7 "x"`)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Info struct{ Version string } }
	if err := json.Unmarshal(text, &doc); err != nil || doc.Info.Version != `7 "x"` {
		t.Errorf("the version is %q, %v", doc.Info.Version, err)
	}
}

func TestOpenAPIDescribesEverything(t *testing.T) {
	var doc object
	if err := json.Unmarshal(document(t), &doc); err != nil {
		t.Fatal(err)
	}
	for _, at := range openapi.Undescribed(doc) {
		t.Errorf("%s has no description: write a comment where it is declared", at)
	}
}

type object = map[string]any

func TestOpenAPIIsSound(t *testing.T) {
	var doc object
	if err := json.Unmarshal(document(t), &doc); err != nil {
		t.Fatal(err)
	}
	if doc["openapi"] != "3.1.0" {
		t.Errorf("openapi is %v", doc["openapi"])
	}
	var refs []string
	collect(doc, &refs)
	for _, ref := range refs {
		if resolve(doc, ref) == nil {
			t.Errorf("%s leads nowhere", ref)
		}
	}
	methods := []string{"get", "post", "put", "patch", "delete"}
	seen := map[string]bool{}
	operations := 0
	for path, item := range doc["paths"].(object) {
		for method, op := range item.(object) {
			operations++
			op := op.(object)
			at := method + " " + path
			if !slices.Contains(methods, method) {
				t.Errorf("%s: unknown method", at)
			}
			id, _ := op["operationId"].(string)
			if id == "" || seen[id] {
				t.Errorf("%s: operationId %q is empty or not unique", at, id)
			}
			seen[id] = true
			if op["summary"] == "" {
				t.Errorf("%s: no summary", at)
			}
			if len(op["responses"].(object)) < 2 {
				t.Errorf("%s: responses are %v", at, op["responses"])
			}
			checkParameters(t, at, path, op)
		}
	}
	public := 0
	for _, d := range api.All() {
		if d.Access != rpc.Internal {
			public += len(openapi.SpelledOut(d))
		}
	}
	if operations != public {
		t.Errorf("%d operations for %d endpoints: two share a method and path", operations, public)
	}
}

func checkParameters(t *testing.T, at, path string, op object) {
	t.Helper()
	var inPath []string
	params, _ := op["parameters"].([]any)
	for _, p := range params {
		p := p.(object)
		if p["in"] == "path" {
			inPath = append(inPath, p["name"].(string))
			if p["required"] != true {
				t.Errorf("%s: parameter %s is not required", at, p["name"])
			}
		}
		if p["schema"] == nil {
			t.Errorf("%s: parameter %s has no schema", at, p["name"])
		}
	}
	want := codec.PathNames(path)
	slices.Sort(inPath)
	slices.Sort(want)
	if !slices.Equal(inPath, want) {
		t.Errorf("%s: path parameters are %v", at, inPath)
	}
}

func collect(v any, refs *[]string) {
	switch v := v.(type) {
	case object:
		if ref, ok := v["$ref"].(string); ok {
			*refs = append(*refs, ref)
		}
		for _, e := range v {
			collect(e, refs)
		}
	case []any:
		for _, e := range v {
			collect(e, refs)
		}
	}
}

func resolve(doc object, ref string) any {
	var at any = doc
	for _, part := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
		o, ok := at.(object)
		if !ok {
			return nil
		}
		at = o[part]
	}
	return at
}

// The rules that a declaration must keep so that a NATS subject, a route and a document can be made of it.
func TestDeclarations(t *testing.T) {
	name := regexp.MustCompile(`^[a-z_]{1,40}$`)
	subjects, routes := map[string]bool{}, map[string]bool{}
	for _, d := range api.All() {
		at := d.Subject()
		if !name.MatchString(d.Service) || !name.MatchString(d.Name) {
			t.Errorf("%s: names are [a-z_]", at)
		}
		if subjects[at] {
			t.Errorf("%s is declared twice", at)
		}
		subjects[at] = true
		if d.Summary == "" {
			t.Errorf("%s has no summary", at)
		}
		if d.Access == rpc.Internal {
			if d.Method != "" || d.Path != "" || len(d.Callers) == 0 {
				t.Errorf("%s: an internal endpoint has callers, and no method or path", at)
			}
			continue
		}
		route := d.Method + " " + regexp.MustCompile(`\{[a-z_]+\}`).ReplaceAllString(d.Path, "{}")
		if routes[route] {
			t.Errorf("%s: %s is taken", at, route)
		}
		routes[route] = true
		if !strings.HasPrefix(d.Path, "/") || len(d.Callers) > 0 {
			t.Errorf("%s: path %q, callers %v", at, d.Path, d.Callers)
		}
		if d.Idempotent && d.Method != "POST" {
			t.Errorf("%s: only POST takes an idempotency key", at)
		}
	}
}

// Orders, payments, tickets and events say when each of their endpoints refuses: the general sentence helps no client.
func TestEndpointsNameTheirRefusals(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]struct {
			Tags      []string
			Responses map[string]struct {
				Ref string `json:"$ref"`
			}
		}
	}
	if err := json.Unmarshal(document(t), &doc); err != nil {
		t.Fatal(err)
	}
	admins := map[string]bool{"/v1/ledger/trial-balance": true, "/v1/sandbox/report.csv": true}
	for path, item := range doc.Paths {
		for method, op := range item {
			if !slices.Contains([]string{"event", "ticketing", "payment"}, op.Tags[0]) || admins[path] {
				continue
			}
			for _, status := range []string{"403", "404", "409"} {
				if op.Responses[status].Ref != "" {
					t.Errorf("%s %s: %s is the general one", strings.ToUpper(method), path, status)
				}
			}
		}
	}
}
