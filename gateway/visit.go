package gateway

import (
	"context"
	"fmt"

	"github.com/starlightsymphony/starlight/gateway/pages"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// mountPages mounts what people see in a browser. A page calls endpoints under the same limits and rules as any client.
func (g *Gateway) mountPages() error {
	site, err := pages.New(pages.Config{Client: g.cfg.Client, Name: "Starlight Symphony", Now: g.cfg.Now})
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	for _, route := range site.Routes() {
		g.handle(route.Method, route.Path, func(x *exchange) error {
			if err := g.limitAddress(x, rpc.GeneralLimit); err != nil {
				return err
			}
			x.shown = site.Serve(route, &pages.Request{RC: x.rc, ID: x.requestID, Secure: g.overTLS(x.rc),
				Param: func(name string) string { return x.fiber.Params(name) },
				As:    func(spec rpc.Spec, access string) (context.Context, error) { return g.as(x, spec, access) },
				Count: func(subject, id string) { g.countReading(x, reading{subject: subject, id: id}) }})
			return nil
		})
	}
	return nil
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
	return rpc.WithMeta(context.Background(), rpc.Meta{Principal: x.principal, RequestID: x.requestID,
		TraceParent: string(x.rc.Request.Header.Peek(rpc.HeaderTrace)), Address: x.address.String()}), nil
}
