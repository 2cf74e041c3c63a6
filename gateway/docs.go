package gateway

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"path"

	"github.com/swaggest/swgui/v5/static"
)

var (
	//go:embed docs.html
	docsHTML []byte
	//go:embed docs.js
	docsJS []byte
)

// docsPolicy lets the documentation page load what this server serves and nothing else. Swagger UI styles its elements
// inline and draws its arrows from data URLs.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page is a file that does not change while the process runs.
type page struct {
	contentType string
	tag         string
	plain       []byte
	zipped      []byte
}

// mountDocs mounts the OpenAPI document and the page that shows it.
func (g *Gateway) mountDocs() error {
	pages := map[string]*page{}
	for at, text := range map[string][]byte{"/openapi.json": g.cfg.OpenAPI, "/docs": docsHTML,
		"/docs/start.js": docsJS} {
		zipped, err := compress(text)
		if err != nil {
			return fmt.Errorf("gateway: %s: %w", at, err)
		}
		pages[at] = newPage(at, text, zipped)
	}
	pages["/docs"].contentType = "text/html; charset=utf-8"
	for _, name := range []string{"swagger-ui.css", "swagger-ui-bundle.js"} {
		zipped, err := static.FS.ReadFile(name + ".gz")
		if err != nil {
			return fmt.Errorf("gateway: %w", err)
		}
		plain, err := decompress(zipped)
		if err != nil {
			return fmt.Errorf("gateway: %s: %w", name, err)
		}
		pages["/docs/"+name] = newPage(name, plain, zipped)
	}
	for at, pg := range pages {
		g.handle("GET", at, pg.serve)
	}
	g.handle("GET", "/docs/", func(x *exchange) error {
		x.rc.Response.Header.Set("Location", "/docs")
		x.rc.Response.SetStatusCode(308)
		return nil
	})
	return nil
}

// faviconSVG is what browsers show beside the title: a star on dark ground.
const faviconSVG = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#14142b"/>` +
	`<path fill="#ffd166" d="m16 5 3.2 7.1 7.8.8-5.8 5.2 1.6 7.7-6.8-3.9-6.8 3.9 1.6-7.7L5 12.9l7.8-.8z"/></svg>`

// robotsTxt keeps machines off what is for programs: its answers are no pages, and each of them is work.
const robotsTxt = "User-agent: *\nDisallow: /v1/\n"

// mountAsides mounts what browsers and robots ask for by themselves.
func (g *Gateway) mountAsides() {
	g.handle("GET", "/favicon.ico", func(x *exchange) error { return x.file("image/svg+xml", faviconSVG) })
	g.handle("GET", "/robots.txt", func(x *exchange) error { return x.file("text/plain; charset=utf-8", robotsTxt) })
}

// file answers with something that never changes.
func (x *exchange) file(contentType, body string) error {
	x.rc.Response.Header.SetContentType(contentType)
	x.rc.Response.Header.Set("Cache-Control", "public, max-age=86400")
	x.rc.Response.SetBodyString(body)
	return nil
}

func newPage(name string, plain, zipped []byte) *page {
	sum := sha256.Sum256(plain)
	return &page{contentType: mime.TypeByExtension(path.Ext(name)), tag: `"` + hex.EncodeToString(sum[:8]) + `"`,
		plain: plain, zipped: zipped}
}

func (p *page) serve(x *exchange) error {
	h := &x.rc.Response.Header
	h.Set("Content-Security-Policy", docsPolicy)
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("ETag", p.tag)
	h.Add("Vary", "Accept-Encoding")
	if string(x.rc.Request.Header.Peek("If-None-Match")) == p.tag {
		x.rc.Response.SetStatusCode(304)
		return nil
	}
	h.SetContentType(p.contentType)
	if x.rc.Request.Header.HasAcceptEncoding("gzip") {
		h.Set("Content-Encoding", "gzip")
		x.rc.Response.SetBodyRaw(p.zipped)
		return nil
	}
	x.rc.Response.SetBodyRaw(p.plain)
	return nil
}

func compress(b []byte) ([]byte, error) {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func decompress(b []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
