package api_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/openapi"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// docs/asyncapi.json has every domain event that shared/api declares.
func TestAsyncAPIIsCurrent(t *testing.T) {
	comments, err := openapi.ReadComments(".")
	if err != nil {
		t.Fatal(err)
	}
	got, err := openapi.Events(api.Topics(), comments)
	if err != nil {
		t.Fatal(err)
	}
	isCurrent(t, filepath.Join("..", "..", "docs", "asyncapi.json"), got)
}

// The parser of the AsyncAPI initiative takes the document, and refuses it once a message is missing.
func TestAsyncAPIIsValid(t *testing.T) {
	const version = "3.6.6"
	modules := filepath.Dir(filepath.Dir(testkit.NPM(t, "@asyncapi/parser", version)))
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "asyncapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	if said := complaints(t, modules, doc); said != "" {
		t.Errorf("the document is not valid:\n%s", said)
	}
	broken := bytes.Replace(doc, []byte(`"address": "ev.`), []byte(`"adress": "ev.`), 1)
	if said := complaints(t, modules, broken); said == "" {
		t.Error("a broken document is taken as valid")
	}
}

// complaints returns the errors that the parser finds in a document, one a line.
func complaints(t *testing.T, modules string, doc []byte) string {
	t.Helper()
	const script = `const { Parser } = require("@asyncapi/parser");
		new Parser().validate(require("fs").readFileSync(0, "utf8")).then(found => console.log(
			found.filter(d => d.severity === 0).map(d => d.path.join("/") + ": " + d.message).join("\n")))`
	cmd := exec.CommandContext(t.Context(), "node", "-e", script)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(doc), t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
