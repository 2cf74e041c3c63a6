package web

import "github.com/valyala/fasthttp"

// Text answers with a word or some lines that no cache keeps.
func Text(rc *fasthttp.RequestCtx, status int, content string) {
	rc.Response.SetStatusCode(status)
	rc.Response.Header.SetContentType("text/plain; charset=utf-8")
	rc.Response.Header.Set("Cache-Control", "no-store")
	rc.Response.SetBodyString(content)
}
