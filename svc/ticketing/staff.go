package ticketing

import (
	"context"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/ticketing/codes"
	"github.com/starlightsymphony/starlight/svc/ticketing/guests"
	"github.com/starlightsymphony/starlight/svc/ticketing/record"
	"github.com/starlightsymphony/starlight/svc/ticketing/retention"
)

// How long an order that the organizer makes keeps its seats unpaid.
const (
	staffHold     = 7 * 24 * time.Hour
	mostStaffHold = 60 * 24 * time.Hour
)

// byStaff is what an order has that the organizer makes for a person.
type byStaff struct {
	complimentary bool
	deal          codes.Deal
	until         time.Time // when its seats are for others, unless it is paid
}

// terms makes a drafted order what the organizer wants it to be.
func (b *byStaff) terms(row *orderRow) {
	if b.complimentary {
		row.Items = slices.Clone(row.Items)
		row.Discount, row.Charges, row.GivenBack = 0, charges{}, []int64{}
		for i, item := range row.Items {
			row.Items[i].Tax, row.Items[i].IncludedFees = nil, api.Money{}
			if item.UnitPrice.Amount > 0 {
				row.Items[i].Discount = api.Money{Amount: item.UnitPrice.Amount * int64(item.Quantity),
					Currency: item.UnitPrice.Currency}
			}
			row.Discount += item.UnitPrice.Amount * int64(item.Quantity)
		}
		row.Total = 0
	}
	row.ExpiresAt, row.Extended = b.until, row.Total > 0
}

// createStaffOrder orders for a person who is told by mail.
func (s *Service) createStaffOrder(ctx context.Context, req *api.StaffOrder) (*api.Order, error) {
	offer, err := s.offerAs(ctx, req.EventID, api.MayEditOrders)
	if err != nil {
		return nil, err
	}
	order := &api.NewOrder{EventID: req.EventID, Items: req.Items, Attendees: req.Attendees, Email: req.Email,
		Name: req.Name, Language: req.Language}
	guest, err := s.guests.Draft(ctx, order)
	if err != nil {
		return nil, err
	}
	guest.Client = "" // the network is the organizer's
	now := store.Time(s.now())
	until := staffUntil(offer, now)
	if req.HoldUntil != nil {
		until = store.Time(*req.HoldUntil)
		var check fault.Check
		check.Field(until.After(now) && !until.After(now.Add(mostStaffHold)), "hold_until",
			"must be in the future, and within 60 days")
		if err := check.Err(); err != nil {
			return nil, err
		}
	}
	until = beforeStart(offer, now, until)
	made := creation{guest: &guests.Order{Guest: guest, Token: guests.NewToken()},
		staff: &byStaff{complimentary: req.Complimentary, until: until}}
	made.scope, made.key, made.hash, made.remember = rpc.Answer(ctx)
	return s.makeOrder(ctx, order, "", made)
}

// staffUntil is until when an order of the organizer keeps its seats unpaid, if nothing is said of it.
func staffUntil(offer *api.Offer, now time.Time) time.Time {
	return beforeStart(offer, now, store.Time(now.Add(staffHold)))
}

// beforeStart returns a time, or when the event begins, if that is sooner.
func beforeStart(offer *api.Offer, now, until time.Time) time.Time {
	if offer.Event.StartsAt.After(now) && offer.Event.StartsAt.Before(until) {
		return store.Time(offer.Event.StartsAt)
	}
	return until
}

// staffLine is what the audit log has of an order that the organizer has made.
func staffLine(ctx context.Context, row orderRow, now time.Time) (stream.Message, error) {
	return auditlog.NewMessage(ctx, "ticketing", auditlog.Act{At: now, Object: row.ID.String(), Event: row.EventID,
		After: map[string]any{"total": row.money(row.Total), "discount": row.money(row.Discount), "items": row.Items}})
}

// orderToEdit returns an order of an event to those who may edit its orders.
func (s *Service) orderToEdit(ctx context.Context, event ids.Event, id ids.Order) (orderRow, error) {
	if _, err := s.offerAs(ctx, event, api.MayEditOrders); err != nil {
		return orderRow{}, err
	}
	row, err := s.db.order(ctx, id)
	if err == nil && row.EventID != event {
		err = fault.New(fault.NotFound, "there is no such order")
	}
	return row, err
}

// updateEventOrder changes the names, the address or the note of an order, for the organizer.
func (s *Service) updateEventOrder(ctx context.Context, req *api.OrderEdit) (*api.Order, error) {
	row, err := s.orderToEdit(ctx, req.EventID, req.OrderID)
	if err != nil {
		return nil, err
	}
	var check fault.Check
	if req.Note != nil {
		*req.Note = text.CleanLines(*req.Note)
		text.CheckLines(&check, "note", *req.Note, 0, 2000)
	}
	for i := range req.Holders {
		h := &req.Holders[i].Holder
		h.Name = text.Clean(h.Name)
		h.Check(&check, fieldName("holders", i)+".holder")
	}
	edit, err := guests.CheckChange(&check, &api.OrderChange{ID: req.OrderID, Email: req.Email, Name: req.Name,
		Language: req.Language})
	if err != nil {
		return nil, err
	}
	now := store.Time(s.now())
	if err := s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		return s.db.editOrder(ctx, tx, row, req, edit, now)
	}); err != nil {
		return nil, err
	}
	s.publishChanges(row.ID)
	return s.getOrder(ctx, &api.OrderRef{ID: row.ID})
}

func (db ticketStore) editOrder(
	ctx context.Context, tx tx, row orderRow, req *api.OrderEdit, edit guests.Change, now time.Time,
) error {
	if err := db.lockOrder(ctx, tx, row.ID); err != nil {
		return err
	}
	var changed []string
	if edit.Some() {
		if row.UserID != api.GuestOf(row.ID) {
			return fault.New(fault.Conflict, "the buyer has an account, which has the name and the address")
		}
		if err := guests.Apply(ctx, db.DB, tx, edit, false, now); err != nil {
			return err
		}
		changed = append(changed, "buyer")
	}
	if len(req.Holders) > 0 {
		var named []ids.Ticket
		for i, h := range req.Holders {
			res, err := tx.ExecContext(ctx, `UPDATE tickets SET holder_name = ?, holder_email = ?
				WHERE id = ? AND order_id = ? AND status = ?`, h.Holder.Name, h.Holder.Email, h.TicketID, row.ID,
				api.TicketValid)
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil || n == 0 {
				return fault.New(fault.Conflict, "a ticket is none of the order, was used, or is revoked").About(
					fieldName("holders", i)+".ticket_id", "cannot be changed")
			}
			named = append(named, h.TicketID)
		}
		if err := record.Mark(ctx, tx, row.EventID, named...); err != nil {
			return err
		}
		changed = append(changed, "holders")
	}
	if req.Note != nil {
		if _, err := tx.ExecContext(ctx, "DELETE FROM order_notes WHERE order_id = ?", row.ID); err != nil {
			return err
		}
		if *req.Note != "" {
			if _, err := tx.ExecContext(ctx, "INSERT INTO order_notes (order_id, note, at) VALUES (?, ?, ?)", row.ID,
				*req.Note, now); err != nil {
				return err
			}
		}
		changed = append(changed, "note")
	}
	if len(changed) == 0 {
		return nil
	}
	if err := retention.Again(ctx, tx, row.EventID); err != nil {
		return err
	}
	return auditlog.Add(ctx, tx, "ticketing", auditlog.Act{At: now, Object: row.ID.String(), Event: row.EventID,
		After: map[string]any{"changed": changed}})
}

// addNotes adds what the organizer's people say of orders.
func (s *Service) addNotes(ctx context.Context, orders []api.Order) error {
	if len(orders) == 0 {
		return nil
	}
	list := make([]ids.Order, len(orders))
	for i, o := range orders {
		list[i] = o.ID
	}
	var notes []struct {
		OrderID ids.Order
		Note    string
	}
	err := store.Select(ctx, s.db.Read(), &notes, "SELECT order_id, note FROM order_notes WHERE order_id IN (?)",
		store.List(list))
	for _, n := range notes {
		for i := range orders {
			if orders[i].ID == n.OrderID {
				orders[i].Note = n.Note
			}
		}
	}
	return err
}

// mostTicketMails is how often the tickets of an order are mailed once more in an hour.
const mostTicketMails = 3

// mailOrderTickets has the tickets of an order mailed to its buyer once more.
func (s *Service) mailOrderTickets(ctx context.Context, req *api.OrderRef) (*rpc.None, error) {
	row, err := s.visibleOrder(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if !rpc.Caller(ctx).Owns(row.UserID) {
		if _, err := s.offerAs(ctx, row.EventID, api.MayEditOrders); err != nil {
			return nil, err
		}
	}
	switch {
	case row.UserID == api.BoxOfficeBuyer:
		return nil, fault.New(fault.Conflict, "the order was sold at a counter: it has no address")
	case row.Status != api.OrderPaid:
		return nil, fault.New(fault.Conflict, "the order is %s", row.Status)
	}
	now := store.Time(s.now())
	return nil, s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		if err := s.db.lockOrder(ctx, tx, row.ID); err != nil {
			return err
		}
		var mailed int
		err := tx.NewRaw("SELECT COUNT(*) FROM ticket_mails WHERE order_id = ? AND at > ?", row.ID,
			now.Add(-time.Hour)).Scan(ctx, &mailed)
		if err != nil {
			return err
		}
		if mailed >= mostTicketMails {
			return fault.New(fault.RateLimited, "the tickets were mailed %d times in an hour", mailed).After(time.Hour)
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM ticket_mails WHERE at < ?", now.Add(-time.Hour)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO ticket_mails (order_id, at) VALUES (?, ?)", row.ID,
			now); err != nil {
			return err
		}
		return stream.Add(ctx, tx, api.TicketsWereRequested.Subject, api.OrderEvent{Order: row.order()})
	})
}
