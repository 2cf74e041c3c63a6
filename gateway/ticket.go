package gateway

import (
	"bytes"
	"context"
	"net/url"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// ticketParam is the query value that opens a live stream where a client cannot send a header.
const ticketParam = "ticket"

// redeem uses up the ticket of a live stream and returns the person that it was made for. All instances of the user
// service know what is used, so it does not matter which gateway is asked.
func (a *authenticator) redeem(x *exchange, ticket string) (verified, error) {
	ctx := rpc.WithMeta(context.Background(), rpc.Meta{RequestID: x.requestID, Address: x.address.String()})
	pass, err := rpc.Call(ctx, a.client, api.UseLiveTicket, &api.UseTicket{Ticket: ticket})
	switch {
	case fault.Is(err, fault.Unauthenticated), fault.Is(err, fault.RateLimited):
		return verified{}, err
	case err != nil:
		return verified{}, fault.Wrap(err, fault.Unavailable,
			"tickets cannot be checked at the moment").After(keysRetry)
	}
	return verified{rpc.Principal{User: pass.UserID, Session: pass.SessionID, Roles: pass.Roles}, pass.Generation,
		"", pass.Until}, nil
}

// without takes a value out of a query that is for the gateway alone.
func without(query []byte, param string) []byte {
	if len(query) == 0 {
		return nil
	}
	var rest [][]byte
	for pair := range bytes.SplitSeq(query, []byte("&")) {
		name, _, _ := bytes.Cut(pair, []byte("="))
		if plain, err := url.QueryUnescape(string(name)); err != nil || plain != param {
			rest = append(rest, pair)
		}
	}
	return bytes.Join(rest, []byte("&"))
}
