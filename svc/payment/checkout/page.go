// Package checkout renders the pages on which payers pay at providers that live in the process.
package checkout

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"

	"github.com/starlightsymphony/starlight/shared/rpc"
)

//go:embed checkout.css
var style string

// Page is a page of one provider, in the style of all. Its script and style are constant and allowed by their hashes,
// in a policy that the page itself carries: nothing a buyer or organizer wrote can run in it.
type Page struct {
	name string
	tmpl *template.Template
}

// New parses a page. Its template puts the constant parts in place by the functions policy, style and script. An empty
// script is none.
func New(name, html, script string) (*Page, error) {
	policy := fmt.Sprintf("default-src 'none'; style-src '%s'; base-uri 'none'; form-action 'none'", Source(style))
	if script != "" {
		policy += fmt.Sprintf("; script-src '%s'; connect-src 'self'", Source(script))
	}
	tmpl, err := template.New(name).Funcs(template.FuncMap{
		"policy": func() string { return policy },
		"style":  func() template.CSS { return template.CSS(style) },
		"script": func() template.JS { return template.JS(script) },
	}).Parse(html)
	if err != nil {
		return nil, fmt.Errorf("checkout page %s: %w", name, err)
	}
	return &Page{name: name, tmpl: tmpl}, nil
}

// Render returns the page with the data that its template wants.
func (p *Page) Render(data map[string]any) (*rpc.Blob, error) {
	var buf bytes.Buffer
	if err := p.tmpl.Execute(&buf, data); err != nil {
		return nil, fmt.Errorf("checkout page %s: %w", p.name, err)
	}
	return &rpc.Blob{ContentType: "text/html; charset=utf-8", Data: buf.Bytes()}, nil
}

// Source returns the source expression of Content Security Policy for an inline script or style.
func Source(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
