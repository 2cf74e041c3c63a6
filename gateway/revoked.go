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
	return revocation.Identity{User: v.principal.User, Session: v.principal.Session, Generation: v.generation,
		Key: v.key}
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
	if err := p.spec.CheckKey(x.principal); err != nil {
		return err
	}
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
	if x.principal.Guest() { // ticketing was asked a moment ago
		return nil
	}
	if p.spec.Sensitive || p.spec.StepUp || p.spec.Access == rpc.Admin ||
		x.principal.Admin() && (writes || api.AdminFactor.Get(p.g.cfg.Settings)) {
		return p.atSource(x)
	}
	return nil
}

// atSource lets a caller on by what the user service says of the session at this moment.
func (p *proxy) atSource(x *exchange) error {
	now, err := p.g.auth.standing(x)
	if err != nil {
		return err
	}
	x.principal.Roles, x.principal.Fresh = now.Roles, now.Fresh
	if err := p.allows(x); err != nil {
		return err
	}
	switch {
	case now.MustEnrol && !p.spec.Enrols:
		return api.FactorMissing()
	case p.spec.StepUp && !now.Fresh:
		return rpc.StepUpNeeded()
	}
	return nil
}

// allows applies the access rule to the roles of the caller.
func (p *proxy) allows(x *exchange) error {
	if p.spec.Access == rpc.Admin && !x.principal.Admin() {
		return fault.New(fault.Forbidden, "only administrators may do this")
	}
	return nil
}

// standing asks the user service whether the session stands, and how.
func (a *authenticator) standing(x *exchange) (*api.Standing, error) {
	ctx := rpc.WithMeta(context.Background(), rpc.Meta{RequestID: x.requestID, Address: x.address.String()})
	now, err := rpc.Call(ctx, a.client, api.CheckSession, &api.SessionCheck{UserID: x.identity.User,
		SessionID: x.identity.Session})
	switch {
	case fault.Is(err, fault.Unauthenticated), fault.Is(err, fault.RateLimited):
		return nil, err
	case err != nil:
		return nil, fault.Wrap(err, fault.Unavailable, "the session cannot be checked at the moment").After(keysRetry)
	}
	return now, nil
}
