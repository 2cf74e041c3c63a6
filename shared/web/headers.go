package web

import "github.com/valyala/fasthttp"

// Secure writes the headers that every answer has, unless a page replaces them.
func Secure(rc *fasthttp.RequestCtx) {
	// The names are in canonical form already, which saves looking at them for each answer.
	h := &rc.Response.Header
	h.SetCanonical(contentTypeOptions, noSniff)
	h.SetCanonical(frameOptions, deny)
	h.SetCanonical(referrerPolicy, noReferrer)
	h.SetCanonical(contentPolicy, nothing)
	if rc.IsTLS() {
		StayWithTLS(rc)
	}
}

// StayWithTLS tells a browser to use TLS from now on.
func StayWithTLS(rc *fasthttp.RequestCtx) {
	rc.Response.Header.Set("Strict-Transport-Security", "max-age=31536000")
}

var (
	contentTypeOptions, noSniff = []byte("X-Content-Type-Options"), []byte("nosniff")
	frameOptions, deny          = []byte("X-Frame-Options"), []byte("DENY")
	referrerPolicy, noReferrer  = []byte("Referrer-Policy"), []byte("no-referrer")
	contentPolicy               = []byte("Content-Security-Policy")
	nothing                     = []byte("default-src 'none'; base-uri 'none'; frame-ancestors 'none'")
)
