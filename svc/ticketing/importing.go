package ticketing

import (
	"context"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/codes"
	"github.com/starlightsymphony/starlight/svc/ticketing/guests"
	"github.com/starlightsymphony/starlight/svc/ticketing/imports"
)

// newImports returns the imports, whose orders are made as those of the organizer are.
func (s *Service) newImports() *imports.Imports {
	return imports.New(imports.Deps{DB: s.db.DB, Log: s.log, Now: s.now, Offer: s.offerAs, Pool: s.poolOf,
		Check: s.checkImported, Known: s.db.knownOrders, Make: s.makeImported})
}

// knownOrders returns those of the orders that are there.
func (db ticketStore) knownOrders(ctx context.Context, list []ids.Order) (map[ids.Order]bool, error) {
	known := map[ids.Order]bool{}
	for at := 0; at < len(list); at += batchSize {
		var found []ids.Order
		err := store.Select(ctx, db.Read(), &found, "SELECT id FROM orders WHERE id IN (?)",
			store.List(list[at:min(at+batchSize, len(list))]))
		if err != nil {
			return nil, err
		}
		for _, id := range found {
			known[id] = true
		}
	}
	return known, nil
}

// imported returns the order that a row is, and what it costs less.
func imported(e *api.Event, row imports.Entry) (*api.NewOrder, codes.Deal) {
	order := &api.NewOrder{EventID: e.ID, Items: []api.NewOrderItem{{TicketTypeID: row.TicketType,
		Quantity: row.Quantity}}, Email: row.Email, Name: row.Name, Language: row.Language, Answers: row.Answers}
	if row.Name != "" {
		order.Attendees = []api.Attendee{{Name: row.Name, Email: row.Email}}
	}
	t := e.TicketType(row.TicketType)
	switch {
	case row.Price == nil || t == nil:
		return order, codes.Deal{}
	case t.FreePrice && row.Price.Amount >= t.Price.Amount:
		order.Items[0].UnitPrice = row.Price
		return order, codes.Deal{}
	}
	return order, codes.Granted(&api.PromoTerms{Kind: api.PromoPrice, Price: row.Price})
}

// checkImported says what is wrong with a row, without making anything.
func (s *Service) checkImported(offer *api.Offer, e imports.Entry) error {
	order, deal := imported(&offer.Event, e)
	row, _, err := s.draftWith(order, offer, api.BoxOfficeBuyer, store.Time(s.now()), deal, nil)
	if err != nil {
		return err
	}
	made := creation{staff: &byStaff{}}
	return made.withAnswers(&row, &offer.Event, order.Answers)
}

// makeImported makes the order of a row, unless it is there.
func (s *Service) makeImported(
	ctx context.Context, event ids.Event, id ids.Order, e imports.Entry, quiet bool,
) error {
	if _, err := s.db.order(ctx, id); err == nil || !fault.Is(err, fault.NotFound) {
		return err
	}
	offer, err := s.offerAs(ctx, event, api.MayEditOrders)
	if err != nil {
		return err
	}
	order, deal := imported(&offer.Event, e)
	guest, err := s.guests.Draft(ctx, order)
	if err != nil {
		return err
	}
	guest.Client = "" // the network is the organizer's
	_, err = s.makeOrder(ctx, order, "", creation{id: id, quiet: quiet,
		guest: &guests.Order{Guest: guest, Token: guests.NewToken()},
		staff: &byStaff{complimentary: e.Complimentary, deal: deal, until: staffUntil(offer, store.Time(s.now()))}})
	return err
}
