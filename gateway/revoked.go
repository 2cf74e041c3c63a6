package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// identity is what of a verified token can be taken back.
func (v verified) identity() revocation.Identity {
	return revocation.Identity{User: v.principal.User, Session: v.principal.Session, Generation: v.generation}
}

// stands returns Unauthenticated if the caller's session has ended, or the person has changed, since the access token
// was made.
func (g *Gateway) stands(x *exchange) error {
	if x.principal.Known() && g.cfg.Revoked.Revoked(x.identity) {
		g.metrics.revoked.Inc()
		return errEnded()
	}
	return nil
}

func errEnded() error {
	return fault.New(fault.Unauthenticated,
		"the session has ended or its rights have changed; refresh it or sign in again")
}

// accept lets a caller with a verified identity on. A gateway that cannot know who has been revoked changes nothing for
// anyone; and what administrators do, and what moves money or roles, is decided by what the user service says now.
func (p *proxy) accept(x *exchange, v verified) error {
	x.principal, x.until, x.identity = v.principal, v.until, v.identity()
	if !x.principal.Known() {
		return nil
	}
	if err := p.g.stands(x); err != nil {
		return err
	}
	if err := p.allows(x); err != nil {
		return err
	}
	writes := p.spec.Method != http.MethodGet
	if writes {
		if err := p.g.cfg.Revoked.Current(); err != nil {
			p.g.metrics.blind.Inc()
			return fault.Wrap(err, fault.Unavailable,
				"whether the session has ended cannot be checked at the moment").After(time.Second)
		}
	}
	if p.spec.Sensitive || p.spec.Access == rpc.Admin || writes && x.principal.Admin() {
		if err := p.g.auth.atSource(x); err != nil {
			return err
		}
	}
	return p.allows(x)
}

// allows applies the access rule to the roles of the caller.
func (p *proxy) allows(x *exchange) error {
	if p.spec.Access == rpc.Admin && !x.principal.Admin() {
		return fault.New(fault.Forbidden, "only administrators may do this")
	}
	return nil
}

// atSource asks the user service whether the session stands, and takes over the roles of this moment.
func (a *authenticator) atSource(x *exchange) error {
	ctx := rpc.WithMeta(context.Background(), rpc.Meta{RequestID: x.requestID, Address: x.address.String()})
	now, err := rpc.Call(ctx, a.client, api.CheckSession, &api.SessionCheck{UserID: x.identity.User,
		SessionID: x.identity.Session})
	switch {
	case fault.Is(err, fault.Unauthenticated), fault.Is(err, fault.RateLimited):
		return err
	case err != nil:
		return fault.Wrap(err, fault.Unavailable, "the session cannot be checked at the moment").After(keysRetry)
	}
	x.principal.Roles = now.Roles
	return nil
}
