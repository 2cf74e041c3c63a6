package gateway

import (
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

const (
	mostBody      = 256 << 10        // bytes of a body but where a file is uploaded
	uploadTimeout = 60 * time.Second // for a file to come over a slow line
	uploadsMinute = 30               // files that one address may upload in a minute
	uploadsInAll  = 120              // and all together: no more are in memory at a time, whoever sends them how slowly
	uploadRoom    = 16 << 10         // for what stands around a file in a form
)

// upload is a route that takes larger bodies than others do. All others are read no further than mostBody, so that
// many connections take little memory.
type upload struct {
	method   string
	segments []string // of the path, names in braces
	most     int      // bytes
}

func (g *Gateway) takesUploads(method, path string, most int) {
	g.uploads = append(g.uploads, upload{method, strings.Split(path, "/"), most + uploadRoom})
}

// headRead decides how much of a body is read, by its head.
func (g *Gateway) headRead(h *fasthttp.RequestHeader) (c fasthttp.RequestConfig) {
	if most, is := g.uploadOf(h); is {
		if _, ok := g.limits.spend(limitKey{by: byUpload}, uploadsInAll); ok {
			c.MaxRequestBodySize, c.ReadTimeout = most, uploadTimeout
		}
	}
	return c
}

// uploadOf returns how large a body may be that is larger than most are, and whether there may be one.
func (g *Gateway) uploadOf(h *fasthttp.RequestHeader) (most int, is bool) {
	if h.IsGet() || h.ContentLength() >= 0 && h.ContentLength() <= mostBody {
		return 0, false
	}
	path, _, _ := strings.Cut(string(h.RequestURI()), "?")
	for _, u := range g.uploads {
		if string(h.Method()) == u.method && sameShape(u.segments, path) {
			return u.most, h.ContentLength() <= u.most
		}
	}
	return 0, false
}

// sameShape reports whether a path has the segments of a route.
func sameShape(segments []string, path string) bool {
	parts := strings.Split(path, "/")
	if len(parts) != len(segments) {
		return false
	}
	for i, want := range segments {
		if !strings.HasPrefix(want, "{") && parts[i] != want {
			return false
		}
	}
	return true
}

// limitUpload counts a file that was uploaded, for its address.
func (g *Gateway) limitUpload(x *exchange) error {
	if len(x.rc.Request.Body()) <= mostBody {
		return nil
	}
	key := limitKey{by: byUpload, address: counted(x.address)}
	if wait, ok := g.limits.spend(key, uploadsMinute); !ok {
		g.metrics.limited[byUpload].Inc()
		return fault.New(fault.RateLimited, "too many files from this address").After(wait)
	}
	return nil
}

// isUpload reports whether an endpoint takes files.
func isUpload(spec rpc.Spec) bool { return spec.BodyLimit() > mostBody }
