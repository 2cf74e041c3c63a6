package ledger

import (
	"context"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

// Register binds the endpoints that show the ledger in db, and those of payouts. The client asks the event service who
// may see what.
func Register(srv *rpc.Server, db *store.DB, client *rpc.Client, now func() time.Time) {
	(&payouts{db, client, now}).register(srv)
	rpc.Handle(srv, api.GetTrialBalance, func(ctx context.Context, _ *rpc.None) (*api.List[api.AccountBalance], error) {
		items, err := TrialBalance(ctx, db)
		return &api.List[api.AccountBalance]{Items: items}, err
	})
	rpc.Handle(srv, api.ListEventMoney, func(ctx context.Context, req *api.EventRef,
	) (*api.List[api.MoneyMonth], error) {
		offer, err := rpc.Call(ctx, client, api.GetOffer, &api.OfferRequest{EventID: req.ID})
		if err != nil {
			return nil, err
		}
		if err := offer.Require(rpc.Caller(ctx), api.MayReadMoney); err != nil {
			return nil, err
		}
		items, err := months(ctx, db, QueryOfEvent(db), req.ID.String())
		return &api.List[api.MoneyMonth]{Items: items}, err
	})
	rpc.Handle(srv, api.ListOrganizerMoney, func(ctx context.Context, req *api.OrganizerRef,
	) (*api.List[api.MoneyMonth], error) {
		if err := readable(ctx, client, req.ID); err != nil {
			return nil, err
		}
		if err := Assign(ctx, db, client); err != nil { // no number is shown that lacks a payment
			return nil, err
		}
		items, err := months(ctx, db, QueryOfOrganizer(db), req.ID.String())
		return &api.List[api.MoneyMonth]{Items: items}, err
	})
}

// readable returns a fault unless the caller may read the money of an organizer.
func readable(ctx context.Context, client *rpc.Client, of ids.Organizer) error {
	team, err := rpc.Call(ctx, client, api.GetOrganizerTeam, &api.OfOrganizer{OrganizerID: of})
	if err != nil {
		return err
	}
	return team.Require(rpc.Caller(ctx), api.MayReadMoney)
}
