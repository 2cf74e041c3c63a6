package ticketing

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/opaque"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// A ticket is given to who has confirmed the address. Anyone may have an account with the address of another: to an
// address that is not confirmed, or has no account, the ticket is offered, and given to who proves to read the mail.

const (
	offerPrefix = "to_"
	offerTTL    = 7 * 24 * time.Hour
	offerOpen   = "open"

	offersWindow  = 24 * time.Hour
	offersByOne   = 20 // offers that one person makes within the window
	offersToOne   = 3  // offers to one address within it
	offerNotThere = "the ticket is used, given back, or given to another person"
)

// offerRow is a row of the table ticket_offers.
type offerRow struct {
	bun.BaseModel `bun:"table:ticket_offers"`

	ID         ids.TicketOffer `bun:"id,pk"`
	TicketID   ids.Ticket      `bun:"ticket_id"`
	EventID    ids.Event       `bun:"event_id"`
	EventName  string          `bun:"event_name"`
	Giver      ids.User        `bun:"giver"`
	Email      string          `bun:"email"`
	EmailKey   string          `bun:"email_key"`
	HolderName string          `bun:"holder_name"`
	Revision   int64           `bun:"revision"`
	Status     string          `bun:"status"`
	TokenHash  string          `bun:"token_hash,nullzero"`
	TakenBy    ids.User        `bun:"taken_by"`
	CreatedAt  time.Time       `bun:"created_at"`
	ExpiresAt  time.Time       `bun:"expires_at"`
}

func (r offerRow) offer() *api.TicketOffer {
	return &api.TicketOffer{ID: r.ID, TicketID: r.TicketID, EventID: r.EventID, EventName: r.EventName, Email: r.Email,
		CreatedAt: r.CreatedAt.UTC(), ExpiresAt: r.ExpiresAt.UTC()}
}

func (r offerRow) event(outcome string, now time.Time) api.OfferEvent {
	return api.OfferEvent{OfferID: r.ID, TicketID: r.TicketID, EventID: r.EventID, OwnerID: r.Giver, Outcome: outcome,
		At: now}
}

func emailKey(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

func offerOver() error { return fault.New(fault.Expired, "this offer is used, taken back or over") }

// offerTicket offers a ticket of the caller to an address. Who may write to strangers so has confirmed the own address.
func (s *Service) offerTicket(ctx context.Context, row ticketRow, req *api.Transfer) (*api.Ticket, error) {
	me, err := s.contactOf(ctx, row.OwnerID)
	if err != nil {
		return nil, err
	}
	if !me.EmailVerified {
		return nil, fault.New(fault.Conflict,
			"confirm your own mail address first: the ticket would be offered by mail")
	}
	now := store.Time(s.now())
	offer := offerRow{ID: ids.New[ids.TicketOfferKind](now), TicketID: row.ID, EventID: row.EventID,
		EventName: row.EventName, Giver: row.OwnerID, Email: strings.TrimSpace(req.Email),
		EmailKey: emailKey(req.Email), HolderName: req.Name, Status: offerOpen, CreatedAt: now,
		ExpiresAt: now.Add(offerTTL)}
	if err := s.db.makeOffer(ctx, &offer, &row); err != nil {
		return nil, err
	}
	t := s.ticket(row)
	t.Offer = offer.offer()
	return &t, nil
}

func (s *Service) contactOf(ctx context.Context, user ids.User) (*api.Contact, error) {
	if rpc.Caller(ctx).Guest() {
		guests, err := s.guests.Contacts(ctx, []ids.User{user})
		if c, ok := guests[user]; ok || err != nil {
			return &c, err
		}
	}
	return rpc.Call(ctx, s.client, api.GetContact, &api.GetContactOf{ID: user})
}

// lockTicket returns a ticket that stays as it is until the end of the transaction.
func (db ticketStore) lockTicket(ctx context.Context, tx tx, id ids.Ticket) (row ticketRow, err error) {
	err = tx.NewRaw("SELECT * FROM tickets WHERE id = ? ?", id, db.forUpdate()).Scan(ctx, &row)
	return row, store.OrNotFound(err, "there is no such ticket")
}

// openOffer returns the offer of a locked ticket that waits, if there is one.
func openOffer(ctx context.Context, db bun.IDB, t ticketRow, now time.Time) (offer offerRow, open bool, err error) {
	var rows []offerRow
	err = db.NewRaw(`SELECT * FROM ticket_offers
		WHERE ticket_id = ? AND giver = ? AND revision = ? AND status = ? AND expires_at > ?`,
		t.ID, t.OwnerID, t.Revision, offerOpen, now).Scan(ctx, &rows)
	if err != nil || len(rows) == 0 || t.Status != api.TicketValid {
		return offer, false, err
	}
	return rows[0], true, nil
}

// makeOffer stores an offer of a ticket. The same again is the one that waits.
func (db ticketStore) makeOffer(ctx context.Context, offer *offerRow, t *ticketRow) error {
	fresh := *offer
	return db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		row, err := db.lockTicket(ctx, tx, fresh.TicketID)
		if err != nil {
			return err
		}
		if row.OwnerID != fresh.Giver || row.Status != api.TicketValid {
			return fault.New(fault.Conflict, "the ticket is used or revoked")
		}
		*t = row
		waiting, open, err := openOffer(ctx, tx, row, fresh.CreatedAt)
		if err != nil {
			return err
		}
		if open && waiting.EmailKey != fresh.EmailKey {
			return fault.New(fault.Conflict, "the ticket is offered to another address; take that back first")
		}
		if open {
			*offer = waiting
			return nil
		}
		if err := db.countOffers(ctx, tx, fresh); err != nil {
			return err
		}
		*offer = fresh
		offer.Revision = row.Revision
		if _, err := tx.NewInsert().Model(offer).Exec(ctx); err != nil {
			return err
		}
		return stream.Add(ctx, tx, api.TicketOffered.Subject, offer.event("", fresh.CreatedAt))
	})
}

// countOffers refuses one offer too many by a person, or to an address.
func (db ticketStore) countOffers(ctx context.Context, tx tx, offer offerRow) error {
	// The offers of other tickets are counted by other transactions. All of them take these two in this order.
	for _, what := range []string{"offers by " + offer.Giver.String(), "offers to " + offer.EmailKey} {
		if err := db.Alone(ctx, tx, what); err != nil {
			return err
		}
	}
	var by, to int
	since := offer.CreatedAt.Add(-offersWindow)
	err := tx.NewRaw(`SELECT (SELECT COUNT(*) FROM ticket_offers WHERE giver = ? AND created_at > ?),
		(SELECT COUNT(*) FROM ticket_offers WHERE email_key = ? AND created_at > ?)`,
		offer.Giver, since, offer.EmailKey, since).Scan(ctx, &by, &to)
	if err != nil {
		return err
	}
	if by >= offersByOne || to >= offersToOne {
		return fault.New(fault.RateLimited, "too many tickets are offered by mail; wait a day").After(offersWindow)
	}
	return nil
}

// offerOf returns the offer of a ticket that waits, or nil.
func (s *Service) offerOf(ctx context.Context, t ticketRow) (*api.TicketOffer, error) {
	offer, open, err := openOffer(ctx, s.db.Read(), t, s.now())
	if err != nil || !open {
		return nil, err
	}
	return offer.offer(), nil
}

// withdrawTransfer takes the offer of a ticket back. The ticket is locked first, as by everything that changes offers.
func (s *Service) withdrawTransfer(ctx context.Context, req *api.TicketRef) (*rpc.None, error) {
	caller, now := rpc.Caller(ctx).User, store.Time(s.now())
	runs := 0
	return nil, s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		t, err := s.db.lockTicket(ctx, tx, req.ID)
		if err == nil && t.OwnerID != caller {
			err = fault.New(fault.NotFound, "there is no such ticket")
		}
		if err != nil {
			return err
		}
		runs++
		offer, open, err := openOffer(ctx, tx, t, now)
		if err != nil || !open && runs > 1 { // an earlier run has done it
			return err
		}
		if !open {
			return fault.New(fault.Conflict, "the ticket is not offered to anyone")
		}
		return endOffer(ctx, tx, offer, api.OfferWithdrawn, "", now)
	})
}

// endOffer ends an offer that waits, whose ticket is locked.
func endOffer(ctx context.Context, tx tx, offer offerRow, outcome string, by ids.User, now time.Time) error {
	res, err := tx.ExecContext(ctx, `UPDATE ticket_offers SET status = ?, taken_by = ?
		WHERE id = ? AND status = ? AND expires_at > ?`, outcome, by, offer.ID, offerOpen, now)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		return offerOver()
	}
	return stream.Add(ctx, tx, api.TicketOfferEnded.Subject, offer.event(outcome, now))
}

// ticketOffers lists what is offered to the caller's address, if that is confirmed.
func (s *Service) ticketOffers(ctx context.Context, _ *rpc.None) (*api.List[api.TicketOffer], error) {
	list := &api.List[api.TicketOffer]{Items: []api.TicketOffer{}}
	me, err := s.contactOf(ctx, rpc.Caller(ctx).User)
	if err != nil || !me.EmailVerified {
		return list, err
	}
	const most = 200
	var rows []offerRow
	err = s.db.Read().NewRaw(`SELECT o.* FROM ticket_offers AS o JOIN tickets AS t ON t.id = o.ticket_id
		WHERE o.email_key = ? AND o.status = ? AND o.expires_at > ? AND t.owner_id = o.giver AND t.status = ?
		AND t.revision = o.revision ORDER BY o.created_at DESC, o.id LIMIT ?`,
		emailKey(me.Email), offerOpen, s.now(), api.TicketValid, most).Scan(ctx, &rows)
	for _, r := range rows {
		list.Items = append(list.Items, *r.offer())
	}
	return list, err
}

// mintOffer makes the token of an offer at the moment when it is mailed, so that the token is in the mail and nowhere
// else. Minting again makes the token before worthless.
func (s *Service) mintOffer(ctx context.Context, req *api.MintOffer) (*api.MintedOffer, error) {
	token := offerPrefix + rand.Text()
	var offer offerRow
	err := s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		err := tx.NewRaw(`UPDATE ticket_offers SET token_hash = ? WHERE id = ? AND status = ? AND expires_at > ?
			RETURNING *`, opaque.Hash(token), req.OfferID, offerOpen, s.now()).Scan(ctx, &offer)
		return store.OrNotFound(err, "there is no such offer")
	})
	if err != nil {
		return nil, err
	}
	return &api.MintedOffer{Email: offer.Email, Token: token, ExpiresAt: offer.ExpiresAt.UTC()}, nil
}

// offerByToken returns the offer whose token this is.
func (s *Service) offerByToken(ctx context.Context, token string) (offer offerRow, err error) {
	var check fault.Check
	check.Field(strings.HasPrefix(token, offerPrefix) && len(token) < 64, "token", "is not one that was mailed")
	if err := check.Err(); err != nil {
		return offer, err
	}
	err = s.db.Read().NewRaw("SELECT * FROM ticket_offers WHERE token_hash = ?", opaque.Hash(token)).Scan(ctx, &offer)
	if err = store.OrNotFound(err, "there is no such token"); fault.Is(err, fault.NotFound) {
		err = offerOver()
	}
	return offer, err
}

// acceptOffer gives the caller a ticket that was offered: to who has the token, or to the confirmed address of the
// caller. It stays with its giver if it is not any more what was offered.
func (s *Service) acceptOffer(ctx context.Context, req *api.AcceptOffer) (*api.Ticket, error) {
	var check fault.Check
	check.Field((req.Token == "") != (req.OfferID == ""), "token", "or offer_id must be given, and only one of them")
	if err := check.Err(); err != nil {
		return nil, err
	}
	me, err := s.contactOf(ctx, rpc.Caller(ctx).User)
	if err != nil {
		return nil, err
	}
	var offer offerRow
	if req.Token != "" {
		offer, err = s.offerByToken(ctx, req.Token)
	} else {
		err = s.db.Read().NewRaw("SELECT * FROM ticket_offers WHERE id = ? AND email_key = ? AND ?", req.OfferID,
			emailKey(me.Email), me.EmailVerified).Scan(ctx, &offer)
		err = store.OrNotFound(err, "there is no such offer")
	}
	if err != nil {
		return nil, err
	}
	if offer.Giver == me.ID {
		return nil, fault.New(fault.Conflict, "the ticket is yours already")
	}
	row, err := s.db.accept(ctx, offer, *me, store.Time(s.now()))
	if err != nil {
		return nil, err
	}
	t := s.ticket(row)
	return &t, nil
}

// accept moves an offered ticket to the person who accepts it, once. Said again it is done.
func (db ticketStore) accept(
	ctx context.Context, offer offerRow, by api.Contact, now time.Time,
) (row ticketRow, err error) {
	holder := api.Attendee{Name: offer.HolderName, Email: by.Email}
	if holder.Name == "" {
		holder.Name = by.Name
	}
	err = db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		t, err := db.lockTicket(ctx, tx, offer.TicketID)
		if err != nil {
			return err
		}
		var done bool
		err = tx.NewRaw("SELECT EXISTS (SELECT 1 FROM ticket_offers WHERE id = ? AND status = ? AND taken_by = ?)",
			offer.ID, api.OfferAccepted, by.ID).Scan(ctx, &done)
		if err != nil {
			return err
		}
		if done {
			if row = t; t.OwnerID != by.ID {
				return offerOver()
			}
			return nil
		}
		if err := endOffer(ctx, tx, offer, api.OfferAccepted, by.ID, now); err != nil {
			return err
		}
		if t.OwnerID != offer.Giver || t.Revision != offer.Revision || t.Status != api.TicketValid {
			return fault.New(fault.Conflict, offerNotThere)
		}
		var ok bool
		row, ok, err = move(ctx, tx, t.ID, offer.Giver, by.ID, holder, now)
		if err == nil && !ok {
			err = fault.New(fault.Conflict, offerNotThere)
		}
		return err
	})
	return row, err
}

// refuseOffer ends an offer for who has the token.
func (s *Service) refuseOffer(ctx context.Context, req *api.RefuseOffer) (*rpc.None, error) {
	offer, err := s.offerByToken(ctx, req.Token)
	if err != nil {
		return nil, err
	}
	now := store.Time(s.now())
	return nil, s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		if _, err := s.db.lockTicket(ctx, tx, offer.TicketID); err != nil {
			return err
		}
		var done bool
		err := tx.NewRaw("SELECT EXISTS (SELECT 1 FROM ticket_offers WHERE id = ? AND status = ?)", offer.ID,
			api.OfferRefused).Scan(ctx, &done)
		if err != nil || done {
			return err
		}
		return endOffer(ctx, tx, offer, api.OfferRefused, "", now)
	})
}
