package gateway

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/gateway/pages"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// mountPages mounts what people see in a browser. A page calls endpoints under the same limits and rules as any client.
func (g *Gateway) mountPages() error {
	site, err := pages.New(pages.Config{Client: g.cfg.Client, Name: "Starlight Symphony",
		PublicURL: g.cfg.PublicURL, Now: g.cfg.Now})
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	for path, most := range pages.Uploads() {
		g.takesUploads("POST", path, most)
	}
	for _, route := range site.Routes() {
		g.handle(route.Method, route.Path, func(x *exchange) error {
			if err := g.limitAddress(x, rpc.GeneralLimit); err != nil {
				return err
			}
			if err := g.limitUpload(x); err != nil {
				return err
			}
			return g.inTurn(x, priorityOf(route), func(x *exchange) error {
				x.shown = g.servePage(x, site, route)
				return nil
			})
		})
	}
	return nil
}

// priorityOf returns who goes first of those who ask for pages.
func priorityOf(route pages.Route) rpc.Priority {
	switch {
	case pages.IsFrame(route): // of what may be left out
		return rpc.Browsing
	case strings.HasPrefix(route.Path, "/door"):
		return rpc.Urgent
	case route.Shared:
		return rpc.Browsing
	}
	return rpc.Usual
}

// servePage answers with a page. Those who have no cookies see the same, so who asks for it at the same time shares it:
// see joints. What is left of an event is therefore as it was after each of them had come.
func (g *Gateway) servePage(x *exchange, site *pages.Site, route pages.Route) error {
	if !route.Shared || !x.rc.IsGet() || len(x.rc.Request.Header.Peek(fasthttp.HeaderCookie)) > 0 {
		_, err := g.onePage(x, site, route)
		return err
	}
	key := "page " + site.Variant(x.rc) + " " + string(x.rc.RequestURI())
	q, asks := g.joints.join(key)
	if !asks {
		if <-q.done; q.answer != nil {
			q.answer.send(x)
			return nil
		}
		_, err := g.onePage(x, site, route)
		return err
	}
	defer g.joints.end(key, q)
	g.joints.send(q)
	seen, err := g.onePage(x, site, route)
	if err == nil && x.rc.Response.StatusCode() == fasthttp.StatusOK {
		q.answer = g.pageCopy(x, seen)
	}
	return err
}

// onePage makes a page for one caller, and returns what of it was counted as seen.
func (g *Gateway) onePage(x *exchange, site *pages.Site, route pages.Route) (seen *reading, err error) {
	err = site.Serve(route, &pages.Request{RC: x.rc, ID: x.requestID, Secure: g.overTLS(x.rc),
		Param: func(name string) string { return x.fiber.Params(name) },
		As:    func(spec rpc.Spec, access string) (context.Context, error) { return g.as(x, spec, access) },
		Count: func(subject, id string) {
			seen = &reading{subject: subject, id: id}
			g.countReading(x, *seen)
		}})
	return seen, err
}

// pageCopy makes a copy of a page that was answered with.
func (g *Gateway) pageCopy(x *exchange, seen *reading) *nearCopy {
	h := &x.rc.Response.Header
	c := &nearCopy{p: &proxy{g: g}, status: fasthttp.StatusOK, contentType: bytes.Clone(h.ContentType()),
		body: bytes.Clone(x.rc.Response.Body())}
	c.etag = strings.Trim(string(h.Peek(rpc.HeaderETag)), `"`)
	for _, name := range []string{rpc.HeaderETag, "Content-Security-Policy", "Referrer-Policy", "Cache-Control", "Vary",
		"Content-Encoding"} {
		if value := h.Peek(name); len(value) > 0 {
			c.headers = append(c.headers, [2][]byte{[]byte(name), bytes.Clone(value)})
		}
	}
	if c.counted = seen != nil; c.counted {
		c.reading = *seen
	}
	return c
}

// as returns the context in which a page calls an endpoint for who has an access token.
func (g *Gateway) as(x *exchange, spec rpc.Spec, access string) (context.Context, error) {
	x.principal = rpc.Principal{}
	if spec.Limit == rpc.LoginLimit {
		if err := g.limitAddress(x, spec.Limit); err != nil {
			return nil, err
		}
	}
	guest := isOrderToken([]byte(access))
	if guest && !spec.Guests { // a page shows more than the order
		guest, access = false, ""
	}
	switch {
	case spec.Access == rpc.Public, spec.Access == rpc.Optional && access == "":
		if err := g.limitPerson(x, spec.Limit); err != nil {
			return nil, err
		}
	case access == "":
		return nil, fault.New(fault.Unauthenticated, "sign in first")
	default:
		p := &proxy{g: g, spec: spec}
		v, err := verified{}, error(nil)
		if guest {
			v, err = p.guest(x, access)
		} else {
			v, err = g.auth.verify([]byte(access))
		}
		if err != nil {
			return nil, err
		}
		if err := p.accept(x, v); err != nil {
			return nil, err
		}
		if err := g.limitPerson(x, spec.Limit); err != nil {
			return nil, err
		}
	}
	return rpc.WithMeta(context.Background(), x.meta()), nil
}
