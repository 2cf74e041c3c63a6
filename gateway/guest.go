package gateway

import (
	"bytes"
	"context"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

const (
	// tokenParam is the query value with the token of an order, for links and files.
	tokenParam = "token"

	// guestsLast bounds how long a live stream or a wait of a guest goes on before the token is checked again.
	guestsLast = 5 * time.Minute
)

// isOrderToken reports whether a token is that of an order, and no access token.
func isOrderToken(token []byte) bool { return bytes.HasPrefix(token, []byte(api.OrderTokenPrefix)) }

// guest returns the buyer whose order a token opens. Ticketing is asked each time, so a token that was revoked is good
// for nothing at once. Where guests may do nothing it is not asked.
func (p *proxy) guest(x *exchange, token string) (verified, error) {
	if !p.spec.Guests {
		return verified{}, rpc.NotForGuests()
	}
	ctx := rpc.WithMeta(context.Background(), rpc.Meta{RequestID: x.requestID, Address: x.address.String()})
	pass, err := rpc.Call(ctx, p.g.cfg.Client, api.CheckOrderToken, &api.CheckToken{Token: token})
	switch {
	case fault.Is(err, fault.Unauthenticated), fault.Is(err, fault.RateLimited):
		return verified{}, err
	case err != nil:
		return verified{}, fault.Wrap(err, fault.Unavailable,
			"the token of the order cannot be checked at the moment").After(keysRetry)
	}
	return verified{principal: rpc.Principal{User: pass.UserID, Roles: []string{rpc.RoleGuest}},
		until: p.g.cfg.Now().Add(guestsLast)}, nil
}
