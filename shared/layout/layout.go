// Package layout is the one HTML frame of all mails and pages. Its styles are inline, because mail programs drop style
// sheets.
package layout

import (
	_ "embed"
	"html/template"
	"io/fs"
)

//go:embed layout.html
var frame string

// Parse returns a template that writes the frame around what a file defines as "content", and as "footer" if it has
// one. Its data has the fields or keys Lang, which is a language tag, and Subject, which is title and heading.
func Parse(fsys fs.FS, file string) (*template.Template, error) {
	t, err := template.New("layout").Parse(frame)
	if err != nil {
		return nil, err
	}
	return t.ParseFS(fsys, file)
}
