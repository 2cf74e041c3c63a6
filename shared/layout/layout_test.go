package layout_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/starlightsymphony/starlight/shared/layout"
)

// A page has the frame, its own content, and no footer unless it defines one. Everything is escaped.
func TestPage(t *testing.T) {
	files := fstest.MapFS{"page.html": {Data: []byte(`{{define "content"}}<p>{{.Text}}</p>{{end}}`)}}
	page, err := layout.Parse(files, "page.html")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := page.Execute(&b, map[string]string{"Lang": "de", "Subject": "A & B", "Text": "<b>"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`<html lang="de">`, "<title>A &amp; B</title>", "<p>&lt;b&gt;</p>\n</div>"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}
