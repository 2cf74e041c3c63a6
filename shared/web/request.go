package web

import (
	"bytes"
	"mime"
	"net/url"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// RequestID returns the id of a request, the caller's own if it may stand in logs and headers. It is in the answer from
// now on.
func RequestID(rc *fasthttp.RequestCtx) string {
	var id string
	if given := rc.Request.Header.Peek("X-Request-Id"); saneID(given) {
		id = string(given)
	} else {
		id = rpc.NewRequestID()
	}
	rc.Response.Header.Set("X-Request-Id", id)
	return id
}

// mostHeaders is how many headers a request may have: browsers send about twenty, proxies add some.
const mostHeaders = 100

// Malformed returns why a request is refused that could be read, or "". What has been no HTTP for long may be read in
// another way by a proxy in front: lines that are folded or do not end in CR LF, and versions that there are not.
func Malformed(h *fasthttp.RequestHeader) string {
	if v := string(h.Protocol()); v != "HTTP/1.1" && v != "HTTP/1.0" {
		return "the version of HTTP is not supported"
	}
	lines := 0
	for raw := h.RawHeaders(); ; lines++ {
		end := bytes.IndexByte(raw, '\n')
		if end < 0 {
			break
		}
		if end == 0 || raw[end-1] != '\r' {
			return "a line of the headers does not end in CR LF"
		}
		if raw = raw[end+1:]; len(raw) > 0 && (raw[0] == ' ' || raw[0] == '\t') {
			return "a header is folded"
		}
	}
	if lines > mostHeaders+1 { // one line is empty
		return "there are too many headers"
	}
	return ""
}

// saneID reports whether a request id from outside may stand in logs and headers.
func saneID(id []byte) bool {
	if len(id) == 0 || len(id) > 64 {
		return false
	}
	for _, c := range id {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// Body returns the body of a request to an endpoint, copied: it may outlive the request. It is nil if there is none.
// The faults are TooLarge and WrongMedia.
func Body(rc *fasthttp.RequestCtx, spec *rpc.Spec) ([]byte, error) {
	body := rc.Request.Body()
	if len(body) == 0 {
		return nil, nil
	}
	if limit := spec.BodyLimit(); len(body) > limit {
		return nil, fault.New(fault.TooLarge, "the body is larger than %d bytes", limit)
	}
	if coding := rc.Request.Header.ContentEncoding(); len(coding) > 0 && string(coding) != "identity" {
		return nil, fault.New(fault.WrongMedia, "the body must not have a Content-Encoding")
	}
	if !spec.Raw && !isJSON(rc.Request.Header.ContentType()) {
		return nil, fault.New(fault.WrongMedia, "the Content-Type must be application/json")
	}
	return bytes.Clone(body), nil
}

func isJSON(contentType []byte) bool {
	if string(contentType) == "application/json" {
		return true
	}
	media, params, err := mime.ParseMediaType(string(contentType))
	if err != nil || media != "application/json" && !(strings.HasPrefix(media, "application/") &&
		strings.HasSuffix(media, "+json")) {
		return false
	}
	charset := params["charset"]
	return charset == "" || strings.EqualFold(charset, "utf-8")
}

// Params joins the values of the path, by the names that it has, and the query in the form of a query: what rpc
// carries. The query must not name a value of the path: which of the two would count?
func Params(names []string, value func(name string) string, query []byte) (string, error) {
	if len(names) == 0 && len(query) == 0 {
		return "", nil
	}
	out := make([]byte, 0, 64+len(query))
	for _, name := range names {
		value := value(name)
		if len(out) > 0 {
			out = append(out, '&')
		}
		out = append(append(out, name...), '=')
		if Unreserved(value) {
			out = append(out, value...)
			continue
		}
		value, err := url.PathUnescape(value)
		if err != nil {
			return "", fault.New(fault.NotFound, "there is nothing under this address")
		}
		out = append(out, url.QueryEscape(value)...)
	}
	if len(query) == 0 {
		return string(out), nil
	}
	if err := checkQuery(names, string(query)); err != nil {
		return "", err
	}
	if len(out) > 0 {
		out = append(out, '&')
	}
	return string(append(out, query...)), nil
}

func checkQuery(names []string, query string) error {
	for i := range len(query) {
		if query[i] <= ' ' || query[i] >= 0x7f {
			return fault.New(fault.Invalid, "the query is not URL-encoded")
		}
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return fault.New(fault.Invalid, "the query is not URL-encoded")
		}
		if slices.Contains(names, name) {
			var check fault.Check
			check.Field(false, name, "belongs to the path")
			return check.Err()
		}
	}
	return nil
}

// Unreserved reports whether s means itself in a path and in a query alike.
func Unreserved(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && (c < 'A' || c > 'Z') &&
			c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}
